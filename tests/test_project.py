"""What holds for the whole project: imports run downwards, the package loads fast, every public name is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import personatune

PACKAGE = Path(personatune.__file__).parent

GROUND = {
    "allocator",
    "anchors",
    "config",
    "configs",
    "copying",
    "costs",
    "dialogue",
    "embedded",
    "errors",
    "hub",
    "intervals",
    "launch",
    "lexicon",
    "plain_json",
    "plain_text",
    "plain_yaml",
    "progress",
    "settings",
    "storage",
    "words",
}
MIDDLE = {"cards", "data", "model", "judging"}
UPPER = {"training", "evaluation", "chat", "export"}
"""Every other area (report, doctor, pipeline, cli, ...) is the top floor: it may use all, and nobody below uses it."""


def allowed(area: str) -> set[str] | None:
    """Return the areas that ``area`` may import beside itself; None is all of them."""
    if area in GROUND:
        return GROUND
    if area in MIDDLE:
        return GROUND
    if area in UPPER:
        return GROUND | MIDDLE
    return None


def area_of(module: str) -> str:
    """Return the area of a dotted name below the package: "personatune.model.lora" is in "model"."""
    return module.split(".")[1] if "." in module else ""


def imports_of(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything of ours that a source imports, at its top and inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = module.rsplit(".", node.level)[0] if node.level else ""
            base = ".".join(part for part in (parent, node.module or "") if part)
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "personatune":
            names = [f"personatune.{node.attr}"]  # after a bare "import personatune", what is used of it
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "personatune")


def upward_imports(source: str, module: str) -> list[str]:
    """Return every import of a module that the layer rule forbids."""
    area = area_of(module)
    below = allowed(area)
    if below is None:
        return []
    return [
        f"{module}, line {line}: imports {name}"
        for line, name in imports_of(source, module)
        if area_of(name) not in below | {area, "__version__", ""}
    ]


def modules() -> list[tuple[str, Path]]:
    """Return dotted name and file of every module but the package's own front door, which offers them all."""
    files = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")
    return [(".".join(["personatune", *file.relative_to(PACKAGE).with_suffix("").parts]), file) for file in files]


def test_imports_run_downwards_only() -> None:
    forbidden = [line for name, file in modules() for line in upward_imports(file.read_text(encoding="utf-8"), name)]
    assert forbidden == []


def test_nobody_but_the_entry_point_imports_the_command_line() -> None:
    importers = [
        name
        for name, file in modules()
        if area_of(name) not in {"cli", "__main__"}
        and any(area_of(found) == "cli" for _, found in imports_of(file.read_text(encoding="utf-8"), name))
    ]
    assert importers == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("personatune.words", "from personatune.data import cleaning"),
        ("personatune.costs.meter", "import personatune.report.build"),
        ("personatune.model.lora", "def f():\n    from personatune.data.sources import DatasetLoader"),
        ("personatune.judging.probes", "from personatune import model"),
        ("personatune.training.sft", "from personatune.evaluation.persona import PersonaEvaluator"),
        ("personatune.chat.session", "from ..training import ppo"),
        ("personatune.data.sources", "from personatune.pipeline import run"),
        ("personatune.data.sources", "import personatune\nloader = personatune.LoRAWrapper"),
    ],
)
def test_the_rule_sees_an_import_that_runs_upwards_or_sideways(module: str, source: str) -> None:
    assert len(upward_imports(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("personatune.chat.session", "from personatune.judging.keywords import expressed_traits"),
        (
            "personatune.training.sft",
            "from .tracking import Tracker\nimport torch\nfrom personatune.errors import UserError",
        ),
        ("personatune.report.build", "from personatune.evaluation.benchmarks import BenchmarkEvaluator"),
    ],
)
def test_the_rule_lets_downward_imports_pass(module: str, source: str) -> None:
    assert upward_imports(source, module) == []


@pytest.mark.parametrize(
    "module", ["personatune", "personatune.config", "personatune.settings", "personatune.doctor",
               "personatune.chat.terminal", "personatune.report.build"]
)  # fmt: skip
def test_light_modules_load_no_heavy_library(module: str) -> None:
    heavy = "{'torch', 'transformers', 'sklearn', 'matplotlib', 'datasets', 'pandas'}"
    program = f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(set(personatune.__all__)))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(personatune, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = personatune.nonsense


def test_dir_lists_the_public_names() -> None:
    assert set(personatune.__all__) <= set(dir(personatune))
