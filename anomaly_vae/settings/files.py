"""Settings from files, names and ``KEY=VALUE``: joined, checked, and written with their meaning.

Where nothing else is said, features are those of our own trunk. The defaults of ``settings`` are
for trunks of torchvision. What differs for other sources of features stands in a preset file
(``configs/embedded.yaml``, ``pixels.yaml``); a user's file and then ``--set`` come on top.
"""

import ast
import difflib
import inspect
import json
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from anomaly_vae.errors import ConfigError
from anomaly_vae.settings import images
from anomaly_vae.settings import schema as settings
from anomaly_vae.settings.schema import OLDER, Config

_SHIPPED = "anomaly_vae_configs"
_ADAPTER: TypeAdapter[Config] = TypeAdapter(Config)


class _Loader(yaml.SafeLoader):
    """YAML in which ``1e-3`` is a number, as in YAML 1.2 and as everybody expects."""


class _Dumper(yaml.SafeDumper):
    """Puts a text that ``_Loader`` would take for a number between quotes."""


for _each in (_Loader, _Dumper):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def load_config(
    path: Path | None = None, assignments: Iterable[str] = (), *, of_run: bool = False
) -> Config:
    """Join defaults, the preset of the feature source, a YAML file and ``KEY=VALUE`` assignments.

    ``path`` may also be one of ``model_names()``. What the settings ``of_run``, a run that may be
    of an earlier version, do not say has its meaning of then (``OLDER``). If nothing else is said,
    the KL has the same weight in the score as in the loss, but no more than in the evidence bound:
    that of a plain autoencoder, which nothing holds, says nothing.

    Raises:
        ConfigError: the file cannot be read, or anything in it or in the assignments is unknown,
            mistyped or out of range; the message lists all mistakes.
    """
    origin = str(path) if path else "--set"
    given = said_in(path) if path else {}
    if of_run:
        given = _merged(OLDER, given)
    for assignment in assignments:
        given = _merged(given, _parse_assignment(assignment))
    given = _merged({"features": {"source": settings.USUAL_SOURCE}}, given)
    features = given["features"]
    source = features["source"] if isinstance(features, dict) else settings.USUAL_SOURCE
    joined = _merged(_preset(source), given)
    model = joined.get("model")
    if isinstance(model, dict) and isinstance(beta := model.get("beta"), int | float):
        joined = _merged({"scoring": {"kl_weight": min(float(beta), 1.0)}}, joined)
    return config_from_dict(joined, origin=origin)


def said_in(path: Path) -> dict[str, Any]:
    """Read what a settings file says itself, by section, unchecked; also one of ``model_names()``.

    Raises:
        ConfigError: it cannot be read.
    """
    return _read_yaml(_shipped(path))


def parse_values(text: str) -> list[Any]:
    """Read values with commas between them as YAML does: ``0, 1e-3`` or ``[a, b], [c]``.

    Raises:
        ConfigError: they are no such values; the message has no origin.
    """
    try:
        values = yaml.load(f"[{text}]", _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError("the values are not YAML") from error
    if not isinstance(values, list):
        raise ConfigError("the values are not YAML")
    return values


def config_from_dict(data: dict[str, Any], *, origin: str) -> Config:
    """Check nested dictionaries, as YAML or JSON gives them, and make a ``Config``.

    Raises:
        ConfigError: with all mistakes; ``origin`` says where the settings came from.
    """
    try:
        return _ADAPTER.validate_json(json.dumps(data, default=str))
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise ConfigError(f"{origin}: {error}") from error
        mistakes = tuple(_describe(mistake) for mistake in error.errors())
        message = f"{origin}: {'; '.join(mistakes)} (see 'anomaly-vae config show')"
        raise ConfigError(message, mistakes) from error


def config_to_dict(config: Config) -> dict[str, Any]:
    """Give the settings as nested dictionaries of plain JSON values."""
    data: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    return data


def config_to_yaml(config: Config) -> str:
    """Write all settings as YAML, each with its sentence as a comment."""
    lines = []
    for section, values in config_to_dict(config).items():
        lines += [f"{section}:  # {_sentence(Config, section)}"]
        for key, value in values.items():
            text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=1000)
            entry = f"{key}: {text.removesuffix('...' + chr(10)).strip()}"
            lines.append(f"  # {_sentence(type(getattr(config, section)), key)}")
            lines.append(f"  {entry}")
    return "\n".join(lines) + "\n"


def preset_names() -> list[str]:
    """Name the sources of features that have a preset file."""
    return _names(resources.files(_SHIPPED))


def model_names() -> list[str]:
    """Name the models of the literature whose settings come with the program."""
    return _names(resources.files(_SHIPPED) / "models")


def _names(folder: Traversable) -> list[str]:
    names = (each.name for each in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def _shipped(path: Path) -> Traversable:
    """Find the file that a name stands for; a file of that name in the working folder wins."""
    if str(path) in model_names() and not path.is_file():
        return resources.files(_SHIPPED) / "models" / f"{path}.yaml"
    return path


def _preset(source: object) -> dict[str, Any]:
    if source not in preset_names():
        return {}
    return _read_yaml(resources.files(_SHIPPED) / f"{source}.yaml")


@cache
def _sentences() -> dict[tuple[str, str], str]:
    """Read the sentence below each field, by class and field, from the source of ``settings``.

    pydantic can do that too, but does it at every start, for inspection as well.
    """
    found = {}
    sources = [ast.parse(inspect.getsource(each)) for each in (images, settings)]
    for cls in (statement for source in sources for statement in source.body):
        if isinstance(cls, ast.ClassDef):
            for field, below in pairwise(cls.body):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    text = ast.literal_eval(below.value) if isinstance(below, ast.Expr) else ""
                    found[cls.name, field.target.id] = " ".join(text.split())
    return found


def _sentence(cls: type, field: str) -> str:
    return _sentences()[cls.__name__, field]


def _read_yaml(path: Traversable) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read as a YAML file: {error}; expected one, or a model that comes "
            f"with the program: {', '.join(model_names())}"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{path}: expected sections such as 'training:', found {data!r:.60}")
    # A section whose settings are all commented out is None.
    return {key: value for key, value in (data or {}).items() if value is not None}


def _parse_assignment(assignment: str) -> dict[str, Any]:
    key, equals, text = assignment.partition("=")
    section, dot, field = key.strip().partition(".")
    if not (equals and dot):
        raise ConfigError(
            f"--set {assignment}: expected SECTION.KEY=VALUE, as in training.epochs=5"
        )
    try:
        return {section: {field: yaml.load(text, _Loader)}}  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: the value is not YAML") from error


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay ``over`` on ``base``, key by key within sections; what is not a section replaces."""
    joined = dict(base)
    for key, value in over.items():
        below = joined.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        joined[key] = {**below, **value} if both else value  # type: ignore[dict-item]
    return joined


def _describe(mistake: Any) -> str:
    """Turn one of pydantic's findings into words: where, what was given, what was expected."""
    place = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {place!r}{_suggestion(mistake['loc'])}"
    message = mistake["msg"].removeprefix("Value error, ")
    if not place:
        return str(message)
    return f"{place} = {mistake['input']!r:.60}: {message[0].lower()}{message[1:]}"


def _suggestion(location: tuple[Any, ...]) -> str:
    sections = _ADAPTER.dump_python(Config())
    known = sections if len(location) == 1 else sections.get(location[0], {})
    close = difflib.get_close_matches(str(location[-1]), list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else f" (known: {', '.join(known)})"
