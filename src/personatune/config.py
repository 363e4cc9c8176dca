"""Read, check, override and write the settings. Presets are commented YAML files in ``configs/``.

Which settings there are, with types, units and bounds, stands in `personatune.settings`.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from personatune.errors import UserError, did_you_mean
from personatune.plain_yaml import NotYamlError, parse_yaml
from personatune.settings import Config
from personatune.storage import write_text

PRESETS = ("quick", "standard", "kaggle-2xt4")


def get_default_config() -> Config:
    """Return the settings every preset starts from."""
    return Config()


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Load a preset by name or a YAML file by path, then apply ``section.key=value`` overrides.

    Raises:
        UserError: unknown preset, unreadable file, unknown key (names the nearest one) or wrong value.
    """
    tree: Mapping[str, Any] = _read_yaml(source)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise UserError(f"--set {override}: expected section.key=value, as in sft.learning_rate=2e-4")
        tree = merge_configs(tree, _nested(key.strip().split("."), _parse_value(text)))
    return _validated(tree, str(source))


def merge_configs(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``override`` laid over it, section by section."""
    merged = dict(base)
    for key, value in override.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = merge_configs(below, value)
        else:
            merged[key] = value
    return merged


def save_config(config: Config, target: Path) -> None:
    """Write the resolved settings as YAML; `load_config` reads them back to an equal tree."""
    write_text(target, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _read_yaml(source: str | Path) -> dict[str, Any]:
    if str(source) in PRESETS:
        text = resources.files("personatune.configs").joinpath(f"{source}.yaml").read_text(encoding="utf-8")
    else:
        path = Path(source)
        if not path.is_file():
            hint = did_you_mean(str(source), PRESETS)
            raise UserError(f"{source}: neither a preset ({', '.join(PRESETS)}) nor a YAML file{hint}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{source}: not UTF-8 text ({error.reason} at byte {error.start})") from error
        except OSError as error:
            raise UserError(f"{source}: can't be read ({error.strerror or error})") from error
    try:
        tree = parse_yaml(text)
    except NotYamlError as error:
        where = f", line {error.line}" if error.line else ""
        raise UserError(f"{source}: not valid YAML ({error}{where})") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{source}: found {type(tree).__name__}, expected a tree of settings")
    return tree


def _parse_value(text: str) -> Any:
    try:
        value = parse_yaml(text)
    except NotYamlError as error:
        raise UserError(f"--set: {text!r} is not a YAML value ({error})") from error
    if isinstance(value, str) and value == text.strip():  # YAML 1.1 reads 2e-4 as text; what is in quotes is text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return typing.cast(dict[str, Any], value)


def _validated(tree: Mapping[str, Any], source: str) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(path[-1], _section_keys(path[:-1]))
            raise UserError(f"{source}: unknown setting {'.'.join(path)}{hint}") from None
        raise UserError(f"{source}: {'.'.join(path)} = {first['input']!r}: {first['msg']}") from None


def _section_keys(path: Sequence[str]) -> list[str]:
    section: type[BaseModel] = Config
    for part in path:
        annotation = section.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)
