"""Every setting in a table: what it may be, its default, each preset's value, and the reason that stands beside it.

Types and defaults come from the settings' classes, reasons from the comments of ``standard.yaml``, and where that has
none from those of ``settings.py``: a reason is written once.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from personatune import settings
from personatune.config import PRESETS, load_config

_YAML_LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?P<value>.*?)(?:\s#\s(?P<comment>.*))?$")
_CONTINUED = re.compile(r"^\s+# (?P<comment>.*)$")


def settings_tables() -> str:
    """Return a heading and a table for every section of the tree."""
    reasons = {**_code_comments(), **yaml_comments(_preset_text("standard"))}
    presets = {name: load_config(name).model_dump(mode="json") for name in PRESETS}
    top = [field for field in _fields(settings.Config) if not _is_section(field[1])]
    parts = [_table("", top, reasons, presets)]
    for section, field in _sections(settings.Config):
        doc = (field.annotation.__doc__ or "").strip().split("\n")[0] if field.annotation else ""
        rows = [row for row in _fields(field.annotation, f"{section}.") if not _is_section(row[1])]
        told = doc if doc and not doc.startswith("A branch of the tree") else reasons.get(section, "")
        parts.append(f"## {section}\n\n{told}\n\n{_table(section, rows, reasons, presets)}")
    return "\n".join(parts)


def yaml_comments(text: str) -> dict[str, str]:
    """Return dotted key to the comment beside it, continued comment lines included."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if path and (more := _CONTINUED.match(line)) and (key := ".".join(name for _, name in path)) in found:
            found[key] += f" {more['comment']}"
        elif line and not line.startswith("#") and (match := _YAML_LINE.match(line)):
            indent = len(match["indent"])
            path = [*((depth, name) for depth, name in path if depth < indent), (indent, match["key"])]
            if match["comment"]:
                found[".".join(name for _, name in path)] = match["comment"].strip()
    return found


def allowed(field: FieldInfo) -> str:
    """Return in words what a setting may be: its type, choices and bounds."""
    words = _type_words(field.annotation)
    for bound in field.metadata:
        words += _bound_words(bound)
    return words


def _preset_text(name: str) -> str:
    return resources.files("personatune.configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def _fields(model: Any, prefix: str = "") -> list[tuple[str, FieldInfo]]:
    return [(prefix + name, field) for name, field in model.model_fields.items()]


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _sections(model: Any, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in _fields(model, prefix):
        if _is_section(field):
            yield name, field
            yield from _sections(field.annotation, f"{name}.")


def _code_comments() -> dict[str, str]:
    """Return dotted key to the comment beside its line in settings.py."""
    lines = Path(settings.__file__).read_text(encoding="utf-8").splitlines()
    by_class: dict[str, dict[str, str]] = {}
    for node in ast.parse("\n".join(lines)).body:
        if isinstance(node, ast.ClassDef):
            by_class[node.name] = {
                item.target.id: comment.strip()
                for item in node.body
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                for line in lines[item.lineno - 1 : item.end_lineno]
                if (comment := line.partition("  # ")[2])
            }
    classes: dict[str, Any] = {
        "": settings.Config,
        **{name: field.annotation for name, field in _sections(settings.Config)},
    }
    return {
        f"{section}.{name}".lstrip("."): comment
        for section, model in classes.items()
        for name, comment in by_class.get(getattr(model, "__name__", ""), {}).items()
    }


def _table(section: str, rows: list[tuple[str, FieldInfo]], reasons: dict[str, str], presets: dict[str, Any]) -> str:
    if not rows:
        return ""
    names = list(presets)
    lines = [f"| setting | | {' | '.join(names)} | may be |", "|---" * (3 + len(names)) + "|"]
    for key, field in rows:
        values = [_shown(_at(tree, key)) for tree in presets.values()]
        cells = [f"`{key.removeprefix(f'{section}.')}`", reasons.get(key, ""), *values, allowed(field)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _at(tree: Any, key: str) -> Any:
    for name in key.split("."):
        tree = tree[name]
    return tree


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return ", ".join(f"{name} {amount:g}" for name, amount in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _type_words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_type_words(one) for one in arguments))
    if origin is Literal:
        return ", ".join(str(one) for one in arguments)
    if getattr(annotation, "__metadata__", None):
        return _type_words(annotation.__origin__) + "".join(_bound_words(one) for one in annotation.__metadata__)
    if origin is list:
        return f"list of {_type_words(arguments[0])}"
    if origin is dict:
        return f"{_type_words(arguments[0])} → {_type_words(arguments[1])}"
    plain = {int: "whole number", float: "number", str: "text", bool: "true, false", type(None): "null"}
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bound_words(bound: Any) -> str:
    if isinstance(bound, FieldInfo):
        return "".join(_bound_words(one) for one in bound.metadata)
    signs = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
    if isinstance(bound, annotated_types.Ge | annotated_types.Gt | annotated_types.Le | annotated_types.Lt):
        return "".join(f" {sign} {getattr(bound, name)}" for name, sign in signs if hasattr(bound, name))
    return ""
