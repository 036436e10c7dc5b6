"""Settings: what wins over what, and that every mistake is named, all at once."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from anomaly_vae.errors import ConfigError
from anomaly_vae.settings.files import (
    config_from_dict,
    config_to_dict,
    config_to_yaml,
    load_config,
    preset_names,
)
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import (
    Config,
    FeatureSettings,
    ModelSettings,
    SplitSettings,
    TrainingSettings,
)

PRESETS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
PIXELS = yaml.safe_load((PRESETS[0].parent / "pixels.yaml").read_text(encoding="utf-8"))
IMAGE_VAE = ("features.source=pixels", "model.kind=image")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path: Path, text: str, *assignments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text), assignments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- where a value comes from


def test_nothing_given_gives_the_defaults() -> None:
    config = load_config()
    assert config == load_config(None, ["features.source=embedded"])
    trunk = FeatureSettings("embedded", local_mean=1, components=160)
    assert config == replace(Config(), features=trunk, model=ModelSettings(hidden_size=256))
    assert load_config(None, ["features.source=resnet18"]) == Config()
    expected = (320, "embedded", 40)
    assert (config.images.size, config.features.source, config.training.epochs) == expected


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "# nothing yet\n")) == load_config()


def test_the_source_of_features_chooses_the_preset(tmp_path: Path) -> None:
    path = written(tmp_path, "features: {source: pixels}")
    for config in (load_config(path), load_config(None, ["features.source=pixels"])):
        assert config.images.size == PIXELS["images"]["size"] != Config().images.size
        assert config.model.kind == PIXELS["model"]["kind"] != Config().model.kind
        assert config.split == Config().split  # the preset says nothing of it


def test_a_file_wins_over_the_preset_and_an_assignment_over_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path, "features: {source: pixels}\nimages: {size: 64}\nsplit: {stopping: 0.3}"
    )
    config = load_config(path, ["images.size=96", "training.epochs=3", "training.epochs=4"])
    assert config.images.size == 96
    assert config.split.stopping == 0.3
    assert config.training.epochs == 4
    assert config.model.kind == PIXELS["model"]["kind"]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_loaded_by_the_name_of_its_file(path: Path) -> None:
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings = config_to_dict(load_config(assignments=[f"features.source={path.stem}"]))
    for section, values in given.items():
        assert {**settings[section], **values} == settings[section]


def test_the_presets_are_the_files_of_the_folder() -> None:
    assert preset_names() == [path.stem for path in PRESETS]
    assert "pixels" in preset_names()


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("2E+1", 20.0), ("1.5e-2", 0.015), ("3", 3.0), ("0.25", 0.25)],
)
def test_numbers_are_read_as_people_write_them(tmp_path: Path, text: str, value: float) -> None:
    path = written(tmp_path, f"training: {{learning_rate: {text}}}")
    assert load_config(path).training.learning_rate == value
    assert load_config(None, [f"training.learning_rate={text}"]).training.learning_rate == value


def test_a_list_of_layers_can_be_assigned() -> None:
    assert load_config(None, ["features.layers=[layer1, layer2]"]).features.layers == (
        "layer1",
        "layer2",
    )


def test_settings_cannot_be_changed_once_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().training.epochs = 3  # type: ignore[misc]


# --- mistakes


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    message = refusal(
        tmp_path,
        """
        images: {size: 8, fit: squeeze}
        training: {epochs: -1, batch_size: true, learning_rat: 0.1}
        imagess: {}
        """,
        "model.beta=-2",
    )
    for part in (
        "images.size = 8: input should be greater than or equal to 16",
        "images.fit = 'squeeze': input should be 'keep', 'stretch' or 'letterbox'",
        "training.epochs = -1",
        "training.batch_size = True",
        "unknown key 'training.learning_rat', did you mean 'learning_rate'?",
        "unknown key 'imagess', did you mean 'images'?",
        "model.beta = -2",
    ):
        assert part in message


def test_the_message_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    message = refusal(tmp_path, "training: {epochs: 0}")
    assert message.startswith(f"{tmp_path / 'settings.yaml'}: ")
    assert "config show" in message


def test_an_unknown_key_that_resembles_none_lists_those_known(tmp_path: Path) -> None:
    message = refusal(tmp_path, "scoring: {zzz: 1}")
    assert (
        "unknown key 'scoring.zzz' (known: kl_weight, per_place, window, top_fraction, whole_map, "
        "fail_rate, review_rate, robust)" in message
    )


@pytest.mark.parametrize(
    "setting",
    [
        "training.epochs=true",
        "training.epochs=5.0",
        "training.epochs='5'",
        "training.epochs=",
        "training.learning_rate=fast",
        "training.learning_rate=true",
        "features.color=1",
        "features.color='no'",
        "features.source=5",
        "features.layers=layer1",
        "features.layers=[1]",
        "images.fit=crop",
    ],
)
def test_a_value_of_another_type_is_refused(setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=f"^--set: {key}.* = "):
        load_config(None, [setting])


@pytest.mark.parametrize(
    "setting",
    [
        "images.size=15",
        "images.size=2049",
        "images.min_size=0",
        "images.max_pixels=0",
        "images.white_level=254",
        "images.white_level=65536",
        "features.local_mean=0",
        "split.stopping=0",
        "split.stopping=0.5",
        "split.calibration=-0.1",
        "model.latent_size=0",
        "model.beta=-1",
        "model.beta=.inf",
        "model.beta=.nan",
        "training.epochs=0",
        "training.hardest=0",
        "training.hardest=1.1",
        "training.learning_rate=0",
        "training.kl_warmup=1.01",
        "training.cycles=0",
        "training.free_bits=-0.1",
        "training.free_bits=.inf",
        "training.capacity=-1",
        "training.capacity=.nan",
        "training.cache_gib=-1",
        "training.seed=-1",
        "training.seed=4294967296",
        "scoring.kl_weight=.nan",
        "scoring.window=0",
        "scoring.top_fraction=1.5",
        "scoring.review_rate=1",
    ],
)
def test_a_value_out_of_range_is_refused(setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=f"^--set: {key} = .*: input should be"):
        load_config(None, [setting])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], 0.01),
        (["model.beta=0"], 0),
        (["model.beta=1"], 1),
        (["features.source=pixels"], 1),
        (["features.source=pixels", "model.beta=4"], 1),
        (["model.beta=4", "scoring.kl_weight=2"], 2),
    ],
)
def test_the_kl_has_the_weight_of_the_loss_and_no_more_than_of_the_bound(
    settings: list[str], expected: float
) -> None:
    assert load_config(None, settings).scoring.kl_weight == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["features.local_mean=4"], "odd"),
        (["scoring.window=2"], "odd"),
        (["model.kind=dense"], "model.kind 'dense' needs features.source 'pixels'"),
        ([*IMAGE_VAE, "images.size=40"], "multiple of 16"),
        ([*IMAGE_VAE, "images.size=16"], "32 or more"),
        (["model.likelihood=bernoulli"], "bernoulli.* needs features.source 'pixels'"),
        (["training.free_bits=0.1", "training.capacity=5"], "exclude each other"),
        (["training.kl_warmup=0", "training.cycles=2"], "set training.kl_warmup"),
        (["features.source=pixels", "training.cycles=2"], "set training.kl_warmup"),
        (["split.stopping=0.4", "split.calibration=0.45"], "must leave 0.2 for training"),
        (["split.group_by='('"], "not a regular expression: missing"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config(None, settings)


def test_all_settings_that_do_not_go_together_are_reported_at_once() -> None:
    settings = [
        "model.kind=image",
        "images.size=40",
        "split.stopping=0.4",
        "split.calibration=0.45",
    ]
    with pytest.raises(ConfigError) as caught:
        load_config(None, settings)
    for part in ("needs features.source", "multiple of 16", "must leave 0.2 for training"):
        assert part in str(caught.value)


def test_an_even_window_is_reported_together_with_everything_else() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["scoring.window=2", "split.group_by='['", "training.epochs=0"])
    for part in ("scoring.window = 2", "split.group_by = '['", "training.epochs = 0"):
        assert part in str(caught.value)


def test_a_section_whose_settings_are_all_commented_out_changes_nothing(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "training:\n  # epochs: 3\n")) == load_config()


def test_a_date_is_named_as_any_other_mistyped_value(tmp_path: Path) -> None:
    assert "training.epochs = " in refusal(tmp_path, "training: {epochs: 2020-01-01}")


@pytest.mark.parametrize("value", ["3", "many", "[1]"])
def test_a_section_that_is_no_section_is_refused(tmp_path: Path, value: str) -> None:
    assert "training = " in refusal(tmp_path, f"training: {value}")


@pytest.mark.parametrize("text", ["a: b: c", "a: [", "\tx: 1", "a: !!python/object:os.system {}"])
def test_a_file_that_is_not_yaml_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith(f"{tmp_path / 'settings.yaml'}: is not YAML: ")


@pytest.mark.parametrize("text", ["- training\n- images", "epochs", "7"])
def test_a_file_without_sections_is_refused(tmp_path: Path, text: str) -> None:
    assert "expected sections such as 'training:'" in refusal(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"a\.yaml: cannot be read as a YAML file"):
        load_config(tmp_path / "a.yaml")


@pytest.mark.parametrize("assignment", ["epochs=5", "training.epochs", "training", ""])
def test_an_assignment_without_section_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(ConfigError, match=r"expected SECTION.KEY=VALUE, as in training.epochs=5"):
        load_config(None, [assignment])


def test_an_assignment_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--set training.epochs=\[: the value is not YAML"):
        load_config(None, ["training.epochs=["])


# --- writing


@pytest.mark.parametrize(
    "settings",
    [
        [],
        [*IMAGE_VAE, "training.learning_rate=1e-05", "model.beta=0"],
        ["features.layers=[layer1, 'layer 2']", "features.color=false"],
        ["training.learning_rate=1e-22", "training.cache_gib=.inf"],
    ],
)
def test_what_is_written_reads_as_the_same_settings(tmp_path: Path, settings: list[str]) -> None:
    config = load_config(None, settings)
    assert load_config(written(tmp_path, config_to_yaml(config))) == config
    assert config_from_dict(config_to_dict(config), origin="here") == config


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(\w+)_\d+",
        "a: b #c",
        "'\"'",
        "[0-9]{2}",
        "null",
        "007",
        "ä\n",
        "x y " * 400,
        "1e5",
    ],
)
def test_any_text_is_written_so_that_it_reads_as_the_same(tmp_path: Path, pattern: str) -> None:
    config = Config(split=SplitSettings(group_by=pattern))
    assert load_config(written(tmp_path, config_to_yaml(config))) == config


def test_the_settings_of_a_run_of_an_earlier_version_mean_what_they_meant(tmp_path: Path) -> None:
    path = written(tmp_path, "images:\n  size: 64\n")
    assert load_config(path, of_run=True).images == ImageSettings(size=64, filter="bilinear")
    later = written(tmp_path, "images:\n  filter: box\n")
    assert load_config(later, of_run=True).images.filter == "box"


def test_every_section_and_setting_is_written_with_its_sentence() -> None:
    lines = config_to_yaml(Config()).splitlines()
    for section, kind in get_type_hints(Config).items():
        assert any(line.startswith(f"{section}:  # ") and line.endswith(".") for line in lines)
        for field in dataclasses.fields(kind):
            at = next(n for n, line in enumerate(lines) if line.startswith(f"  {field.name}: "))
            assert lines[at - 1].startswith("  # ")
            assert len(lines[at - 1].split()) > 3


def test_sections_can_be_made_by_name() -> None:
    config = Config(model=ModelSettings(latent_size=3), training=TrainingSettings(epochs=2))
    assert config_to_dict(config)["model"]["latent_size"] == 3
