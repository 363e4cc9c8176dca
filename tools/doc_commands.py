"""The commands that README and docs/ show: where each stands, and what is wrong with it.

`documented_commands` finds them, `problem` says of one why nobody could run it as it stands. The tests ask both, and
run those for real whose block says so (see docs/reference/checks.md).
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RUN_MARK = "# run by the tests"
OURS = ("personatune", "make", "python", "pip", "accelerate")
"""Programs whose commands are checked; those of other programs are nobody's here."""

_FENCE = re.compile(r"^ {0,3}(`{3,})(\w*)(?:\s+title=\"([^\"]+)\")?\s*$")
_INLINE = re.compile(r"(?<!`)`((?:personatune|make) [^`]+)`(?!`)")
_STRAY = re.compile(r"^(?:    |\t)?\s*(?:\S*/)?(?:personatune|accelerate launch) [a-z]")


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page.

    Attributes:
        page: the page's path in the repository.
        words: of the command, comment and variables in front taken off.
        run: whether its block says that the tests run it.
        inline: whether it stands within a line of text, where a command may be named without all it needs.
    """

    page: str
    line: int
    words: tuple[str, ...]
    run: bool = False
    inline: bool = False

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}: {' '.join(self.words)}"

    @property
    def program(self) -> str:
        return Path(self.words[0]).name


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page: its language, the file name that stands over it, and its lines."""

    page: str
    line: int
    language: str
    title: str | None
    lines: tuple[str, ...]


def pages() -> list[Path]:
    """Return the files whose commands count."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(file: Path) -> Iterator[Block | tuple[int, str]]:
    """Yield a page's code blocks, and every line of text between them with its number."""
    page = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else file.name
    opened: tuple[int, str, str, str | None] | None = None
    held: list[str] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        mark = _FENCE.match(line)
        if opened is None and mark:
            opened, held = (number, mark[1], mark[2], mark[3]), []
        elif opened is not None and mark and mark[1] == opened[1] and not mark[2]:
            yield Block(page, opened[0], opened[2], opened[3], tuple(held))
            opened = None
        elif opened is not None:
            held.append(line)
        else:
            yield number, line


def documented_commands(file: Path) -> list[Command]:
    """Return the commands of a page: those of its ``sh`` blocks, and ours within its lines."""
    page = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else file.name
    found: list[Command] = []
    for part in blocks_of(file):
        if isinstance(part, Block):
            found += _of_block(part) if part.language == "sh" else []
        else:
            found += [
                Command(page, part[0], words, inline=True)
                for match in _INLINE.finditer(part[1])
                if (words := _words(match[1].partition("…")[0]))
            ]
    return found


def stray_commands(file: Path) -> list[str]:
    """Return the lines that look like commands of ours and stand in no ``sh`` block, so that nobody checks them."""
    stray: list[str] = []
    for part in blocks_of(file):
        if isinstance(part, Block) and part.language != "sh":
            stray += [line for line in part.lines if _STRAY.match(line)]
        elif isinstance(part, tuple) and part[1].startswith(("    ", "\t")):
            stray += [part[1]] if _STRAY.match(part[1]) else []
    return stray


def shown_files(file: Path) -> dict[str, str]:
    """Return the files that a page shows: blocks with a file name over them."""
    parts = (part for part in blocks_of(file) if isinstance(part, Block))
    return {part.title: "\n".join(part.lines) + "\n" for part in parts if part.title}


def problem(command: Command) -> str | None:
    """Return what is wrong with a command, or None: it exists, with these options, choices and settings."""
    words = command.words
    checks = {"personatune": _personatune, "make": _make, "python": _script, "pip": _pip, "accelerate": _accelerate}
    check = checks.get(command.program)
    return check(words[1:], command.inline) if check is not None else None


def _of_block(block: Block) -> Iterator[Command]:
    run = any(line.startswith(RUN_MARK) for line in block.lines)
    begun, start = "", 0
    for number, line in enumerate(block.lines, start=block.line + 1):
        start = start if begun else number
        begun += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        words = _words(begun)
        if words:
            yield Command(block.page, start, words, run and Path(words[0]).name == "personatune")
        begun = ""


def _words(text: str) -> tuple[str, ...]:
    words = shlex.split(text, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        del words[0]
    return tuple(words)


def _personatune(words: Sequence[str], inline: bool) -> str | None:
    import typer.main

    from personatune.cli import app
    from personatune.errors import UserError

    command: Any = typer.main.get_command(app)
    context: Any = None
    name, rest = "personatune", list(words)
    if "--help" in rest:
        rest.remove("--help")
        inline = True
    try:
        while True:
            if hasattr(command, "commands") and rest and rest[0] in {"COMMAND", "…"}:
                return None
            context = command.make_context(name, rest, parent=context)
            rest = [*getattr(context, "_protected_args", []), *context.args]
            if not hasattr(command, "commands") or not rest:
                break
            name, command, rest = command.resolve_command(context, rest)
        return _values(context.params)
    except UserError as error:
        return str(error)
    except Exception as error:  # any of typer's
        if type(error).__name__ not in _USAGE_ERRORS:
            raise
        told: Any = error
        lacking = type(error).__name__ in {"MissingParameter", "NoArgsIsHelpError"}
        return None if inline and lacking else str(told.format_message())


_USAGE_ERRORS = {"UsageError", "BadParameter", "MissingParameter", "NoSuchOption", "BadOptionUsage", "BadArgumentUsage",
                 "NoArgsIsHelpError", "NoSuchCommand"}  # fmt: skip
"""Typer brings its own copy of click, whose errors aren't those of the package click: they are known by name."""


def _values(given: dict[str, Any]) -> str | None:
    """Ask what a command itself asks of its values, as far as that needs no file and no weights."""
    from personatune.cli.estimate import _bytes
    from personatune.config import PRESETS, load_config
    from personatune.pipeline.benchmark_sets import PROBE_SPLITS, parse_benchmarks
    from personatune.pipeline.reply_strategies import split_recall, split_strategy

    preset = given.get("preset", "quick")
    if preset not in PRESETS and not preset.endswith((".yaml", ".yml")):
        return f"--preset {preset}: expected {', '.join(PRESETS)} or a YAML file"
    load_config(preset if preset in PRESETS else "quick", given.get("settings") or [])
    if given.get("on"):
        parse_benchmarks(given["on"])
    if given.get("memory"):
        _bytes(given["memory"])
    if given.get("probes_split", "all") not in {*PROBE_SPLITS, "all"}:
        return f"--probes-split {given['probes_split']}: expected one of {', '.join(PROBE_SPLITS)}, all"
    named = [given.get("model"), *(given.get("models") or [])]
    for model in (name for name in named if isinstance(name, str) and "+" in name):
        plain, strategy = split_strategy(model)
        if strategy is None and split_recall(plain)[0] == plain:
            return f"--model {model}: no such strategy"
    if given.get("methods"):
        from personatune.pipeline.methods import METHODS

        wrong = [method for method in given["methods"] if method not in METHODS]
        return f"--method {wrong[0]}: expected one of {', '.join(METHODS)}" if wrong else None
    return None


def _make(words: Sequence[str], _inline: bool) -> str | None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(" ".join(re.findall(r"^([a-z -]+):", text, re.MULTILINE)).split())
    variables = {*re.findall(r"^([A-Z]+) \??=", text, re.MULTILINE), *re.findall(r"\$\(([A-Z]+)\)", text)}
    for word in words:
        known, expected = (variables, "variables") if "=" in word else (targets, "targets")
        name = word.partition("=")[0]
        if name not in {*known, "TARGET"}:
            return f"make {word}: the Makefile's {expected} are {', '.join(sorted(known))}"
    return None


def _script(words: Sequence[str], _inline: bool) -> str | None:
    if not words or not words[0].endswith(".py"):
        return None
    script = ROOT / words[0]
    if not script.is_file():
        return f"{words[0]}: no such script"
    text = script.read_text(encoding="utf-8")
    unknown = [word for word in words[1:] if word.startswith("--") and f'"{word.partition("=")[0]}"' not in text]
    return f"{words[0]} has no option {unknown[0]}" if unknown else None


def _pip(words: Sequence[str], _inline: bool) -> str | None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words:
        match = re.fullmatch(r"(?:personatune|\.)\[([\w,-]+)\]", word)
        for extra in match[1].split(",") if match else ():
            if extra not in project["optional-dependencies"]:
                return f"pip install {word}: no extra {extra}"
        if word.endswith(".txt") and not (ROOT / word).is_file():
            return f"pip install: no file {word}"
    return None


def _accelerate(words: Sequence[str], inline: bool) -> str | None:
    from accelerate.commands.launch import launch_command_parser

    parser = launch_command_parser()
    try:
        parsed = parser.parse_args(list(words[1:]))
    except SystemExit:
        return "accelerate refuses its options"
    if not parsed.module or parsed.training_script != "personatune":
        return f"launches {parsed.training_script}, expected -m personatune"
    return _personatune(parsed.training_script_args, inline)
