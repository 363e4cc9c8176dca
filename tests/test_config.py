"""Settings: presets that load, values that can all be set, mistakes that are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from personatune.config import PRESETS, get_default_config, load_config, merge_configs, save_config
from personatune.errors import UserError
from personatune.settings import Config


def leaves(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and default of every setting."""
    for name, field in section.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from leaves(type(field.default), f"{prefix}{name}.")
        else:
            yield prefix + name, field.default


def value_of(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_loads_and_says_how_to_run_it(preset: str) -> None:
    assert isinstance(load_config(preset), Config)
    packaged = Path(__file__).parent.parent / "src" / "personatune" / "configs" / f"{preset}.yaml"
    assert f"--preset {preset}" in packaged.read_text(encoding="utf-8")


@pytest.mark.parametrize(("key", "default"), list(leaves()))
def test_every_setting_can_be_set_to_its_default_on_the_command_line(key: str, default: Any) -> None:
    text = yaml.safe_dump(default, default_flow_style=True).removesuffix("\n...\n").strip()
    assert value_of(load_config("quick", [f"{key}={text}"]), key) == default


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("sft.learning_rate=2e-4", "sft.learning_rate", 2e-4),
        ("seed=7", "seed", 7),
        ("data.max_dialogues=null", "data.max_dialogues", None),
        ("branch.layers=all", "branch.layers", "all"),
        ("branch.layers=4", "branch.layers", 4),
        ("branch.critic_layers=3", "branch.critic_layers", 3),
        ("branch.critic_layers=null", "branch.critic_layers", None),
        ("lora.target_modules=[q_proj, v_proj]", "lora.target_modules", ["q_proj", "v_proj"]),
        ("tracking.backends=[csv]", "tracking.backends", ["csv"]),
        ("tracking.online=true", "tracking.online", True),
        ("data.source=a=b.jsonl", "data.source", "a=b.jsonl"),
        (" sft.epochs =3", "sft.epochs", 3),
    ],
)
def test_a_value_is_read_as_yaml(override: str, key: str, value: Any) -> None:
    assert value_of(load_config("quick", [override]), key) == value


def test_a_source_that_looks_like_a_number_stays_a_name() -> None:
    assert load_config("quick", ["model.base='1234'"]).model.base == "1234"


def test_of_two_overrides_the_later_one_counts_and_others_stay() -> None:
    config = load_config("quick", ["sft.epochs=2", "sft.batch_size=5", "sft.epochs=3"])
    assert (config.sft.epochs, config.sft.batch_size) == (3, 5)
    assert config.sft.learning_rate == load_config("quick").sft.learning_rate


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sft.learning_rat=1e-4", r"unknown setting sft\.learning_rat; did you mean 'learning_rate'\?"),
        ("stf.epochs=1", r"unknown setting stf; did you mean 'sft'\?"),
        ("sft.epochs.more=1", r"sft\.epochs = \{'more': 1\}"),
        ("sft.epochs=many", r"sft\.epochs = 'many': Input should be a valid integer"),
        ("sft.epochs=0", r"sft\.epochs = 0: Input should be greater than or equal to 1"),
        ("sft.learning_rate=-1", r"sft\.learning_rate = -1: Input should be greater than 0"),
        ("branch.layers=some", r"branch\.layers"),
        ("branch.critic_layers=0", r"branch\.critic_layers = 0: Input should be greater than or equal to 1"),
        ("branch.critic_layers=7", r"branch\.critic_layers = 7: more than branch\.layers = 6; use 6 or null$"),
        ("preferences.kinds={generic: -1}", r"preferences\.kinds\.generic = -1"),
        ("sft=3", r"sft = 3: Input should be"),
        ("sft.epochs", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("sft.epochs=[", "not a YAML value"),
        ("qqqq.zzzz=1", r"unknown setting qqqq$"),
    ],
)
def test_a_mistake_on_the_command_line_is_named_in_one_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config("quick", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_saved_settings_are_read_back_equal(preset: str, tmp_path: Path) -> None:
    config = load_config(preset, ["data.source=näme.jsonl", "branch.layers=all", "sft.max_steps=3"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n", encoding="utf-8")
    assert load_config(tmp_path / "empty.yaml") == get_default_config()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"sft:\n  epochs: [1\n", r"mine\.yaml: not valid YAML \(.*, line 3\)"),
        (b"- a\n- b\n", r"mine\.yaml: found list, expected a tree of settings"),
        (b"just words", r"mine\.yaml: found str, expected a tree of settings"),
        (b"seed: \xff", r"mine\.yaml: not UTF-8 text"),
        (b"sft:\n  epoch: 3\n", r"mine\.yaml: unknown setting sft\.epoch; did you mean 'epochs'\?"),
        (b"sft:\n", r"mine\.yaml: sft = None"),
        (b"a: &x [*x]\n", r"mine\.yaml: "),
    ],
)
def test_a_broken_settings_file_is_a_users_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_config(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"quik: neither a preset \(quick, .*did you mean 'quick'\?"):
        load_config("quik")


def test_merging_lays_one_tree_over_the_other_and_changes_neither() -> None:
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2]}
    override = {"a": {"y": {"w": 3}}, "b": [9], "c": 4}
    assert merge_configs(base, override) == {"a": {"x": 1, "y": {"z": 2, "w": 3}}, "b": [9], "c": 4}
    assert base == {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2]}
    assert override == {"a": {"y": {"w": 3}}, "b": [9], "c": 4}


def test_defaults_are_everybodys_own() -> None:
    first, second = get_default_config(), get_default_config()
    first.sft.epochs = 77
    first.preferences.kinds["generic"] = 9.0
    assert second.sft.epochs != 77
    assert second.preferences.kinds["generic"] == 1.0
    assert load_config("quick").sft.epochs != 77


def test_on_and_off_may_be_set_though_yaml_takes_them_for_truth_values() -> None:
    assert load_config("quick", ["sft.compile=off"]).sft.compile == "off"
    assert load_config("quick", ["sft.compile=on"]).sft.compile == "on"


def test_an_alarm_may_be_turned_off_though_yaml_takes_that_for_a_truth_value() -> None:
    assert load_config("quick", ["ppo.alarms.length.action=off"]).ppo.alarms.length.action == "off"
    with pytest.raises(UserError, match=r"ppo\.alarms\.length\.action"):
        load_config("quick", ["ppo.alarms.length.action=True"])
