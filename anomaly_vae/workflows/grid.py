"""The trainings of a study: a grid over settings, times seeds; each has a name and a ``Config``."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from anomaly_vae.errors import ConfigError
from anomaly_vae.settings.files import load_config, parse_values, said_in
from anomaly_vae.settings.schema import Config

_LONGEST = 24  # characters of a value in a name: Windows allows 260 for a whole path
SEED = "training.seed"
# A study compares models on images held out, which all of them must not have seen.
FIXED = {"training.refit": "false", "split.folds": "1"}
_NONE_HAS_SEEN = "a study compares models on images that none has seen"


@dataclass(frozen=True)
class Axis:
    """A setting that is varied."""

    key: str
    """``SECTION.KEY``."""
    values: tuple[Any, ...]
    """As YAML gives them: at least one, none of them twice."""


@dataclass(frozen=True)
class Planned:
    """One training of a study."""

    name: str
    """Of its run folder; differs from all others also where upper and lower case are the same."""
    values: dict[str, Any]
    """What is varied: the value of each key; lists as JSON."""
    config: Config


def plan_runs(
    vary: Sequence[str],
    *,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    seeds: int = 1,
) -> list[Planned]:
    """Lay out the trainings of all combinations of ``SECTION.KEY=VALUE,VALUE…``, times seeds.

    The seeds are ``training.seed`` and the numbers after it. The other settings are those of
    ``load_config``.

    Raises:
        ConfigError: there is nothing to vary, or a key or value is wrong; all mistakes at once.
    """
    if not vary:
        raise ConfigError("nothing to vary; expected --vary SECTION.KEY=VALUE,VALUE")
    axes, mistakes = _read_axes(vary)
    for each in assignments:
        key, _, value = (part.strip() for part in each.partition("="))
        if value.lower() != FIXED.get(key, value.lower()):
            mistakes.append(f"--set {key}: {_NONE_HAS_SEEN}; leave it out")
    planned = []
    for numbers in product(*(range(len(axis.values)) for axis in axes)):
        point = {a.key: a.values[number] for a, number in zip(axes, numbers, strict=True)}
        given = [*assignments, *(f"{key}={json.dumps(v, default=str)}" for key, v in point.items())]
        try:
            first = load_config(config, given).training.seed
            for seed in range(first, first + seeds):
                fixed = {SEED: str(seed), **FIXED}
                settings = load_config(config, [*given, *map("=".join, fixed.items())])
                name = f"{_name(axes, numbers)}_seed-{seed}"
                shown = {key: _plain(value) for key, value in point.items()}
                planned.append(Planned(name, shown, settings))
        except ConfigError as error:
            mistakes += error.mistakes or [str(error)]
    if mistakes:
        each = "; ".join(dict.fromkeys(mistakes))
        raise ConfigError(f"{each} (see 'anomaly-vae config show')")
    return planned


def overruled(config: Path) -> str:
    """Say which settings of a file a study does not follow; empty if it follows all."""
    said = {
        f"{section}.{key}": json.dumps(value, default=str)
        for section, values in said_in(config).items()
        for key, value in values.items()
    }
    others = [f"{key} {said[key]}" for key, fixed in FIXED.items() if said.get(key, fixed) != fixed]
    return f"{config}: not followed: {' and '.join(others)}; {_NONE_HAS_SEEN}" if others else ""


def _read_axes(vary: Sequence[str]) -> tuple[list[Axis], list[str]]:
    """Give the settings that are varied, and the mistakes in their text."""
    axes: dict[str, Axis] = {}
    mistakes = []
    for text in vary:
        key, equals, values = (part.strip() for part in text.partition("="))
        try:
            listed = parse_values(values)
        except ConfigError as error:
            mistakes.append(f"--vary {text}: {error}")
            continue
        twice = [value for number, value in enumerate(listed) if value in listed[:number]]
        if not (equals and "." in key):
            mistakes.append(f"--vary {text}: expected SECTION.KEY=VALUES, as in model.beta=0,0.5,1")
        elif key in axes:
            mistakes.append(f"--vary {key} is given twice; give all its values at once")
        elif key == SEED:
            mistakes.append(f"--vary {key}: expected --seeds NUMBER instead")
        elif key in FIXED:
            mistakes.append(f"--vary {key}: {_NONE_HAS_SEEN}; leave it out")
        elif not listed:
            mistakes.append(f"--vary {text}: nothing to vary; expected one value or more")
        elif twice:
            mistakes.append(f"--vary {key}: {_plain(twice[0])} is given twice")
        else:
            axes[key] = Axis(key, tuple(listed))
    return list(axes.values()), mistakes


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Name settings without their section, where that is unmistakable."""
    fields = [key.partition(".")[2] for key in keys]
    return {
        key: field if fields.count(field) == 1 else key
        for key, field in zip(keys, fields, strict=True)
    }


def _name(axes: Sequence[Axis], numbers: Sequence[int]) -> str:
    names = short_names([axis.key for axis in axes])
    words = [
        f"{names[axis.key]}-{_words(axis.values)[number]}"
        for axis, number in zip(axes, numbers, strict=True)
    ]
    return "_".join(words)


def _words(values: Sequence[Any]) -> list[str]:
    """Write values so that they can stand in the name of a folder, on any system."""
    words = [
        re.sub(r"[^\w.+-]+", "_", str(_plain(value)), flags=re.ASCII).strip("_.")[:_LONGEST]
        for value in values
    ]
    folded = [word.casefold() for word in words]
    return [
        word if word and folded.count(word.casefold()) == 1 else f"{word}~{number}"
        for number, word in enumerate(words)
    ]


def _plain(value: Any) -> Any:
    """Give a value as it stands in a table: a list as JSON, 1.0 as 1."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    written = isinstance(value, int | str) and not isinstance(value, bool)
    return value if written else json.dumps(value, default=str)
