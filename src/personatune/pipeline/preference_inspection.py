"""Shows the preference pairs of a file or a run: how many of each kind, whether form gives them away, and examples."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from personatune.data.preference_files import describe_pairs, read_preference_file
from personatune.dialogue import PreferencePair
from personatune.errors import UserError, did_you_mean
from personatune.plain_text import one_line
from personatune.storage import read_json, write_json

_PARTS = ("train", "test")


def inspect_preferences(
    target: str, runs: Path, *, kind: str | None = None, examples: int = 1, json_file: Path | None = None
) -> None:
    """Print pairs by kind, length differences and examples.

    Args:
        target: a file of pairs (votes too), or the name of a run under ``runs``.
        kind: show examples of this kind only.
        json_file: write the figures there too, by part and kind.

    Raises:
        UserError: neither a file nor a run with pairs, a damaged row, or a kind that isn't there.
    """
    console = Console()
    files = _files_of(target, runs)
    pairs = {part: read_preference_file(file) for part, file in files.items()}
    kinds = sorted({pair.kind for part in pairs.values() for pair in part})
    if kind is not None and kind not in kinds:
        raise UserError(f"--kind {kind}: not in {target}, which holds {', '.join(kinds)}{did_you_mean(kind, kinds)}")
    figures = {part: describe_pairs(found) for part, found in pairs.items()}
    for part, found in figures.items():
        console.print(_table(f"{part}: {files[part]}", found))
    console.print(
        Text(
            "mirrors: the same two replies the other way round where the other one is right. difference: words of the "
            "rejected reply minus those of the chosen one; matched: within 20 % or three words."
        )
    )
    for line in _unfilled(files):
        console.print(Text(one_line(line)))
    first = next(iter(pairs.values()))
    for shown in [kind] if kind else kinds:
        for pair in [pair for pair in first if pair.kind == shown][:examples]:
            _show(console, pair)
    if json_file is not None:
        write_json(json_file, figures)
        console.print(Text(f"written: {json_file}"))


def _files_of(target: str, runs: Path) -> dict[str, Path]:
    file = Path(target)
    if file.is_file():
        return {file.stem: file}
    folder = runs / target / "preferences"
    found = {part: folder / f"{part}.jsonl" for part in _PARTS if (folder / f"{part}.jsonl").is_file()}
    if found:
        return found
    if (runs / target / "config.yaml").is_file():
        raise UserError(f"run {target} has no preference pairs yet; run: personatune preferences --run {target}")
    hint = did_you_mean(target, [path.parent.name for path in runs.glob("*/preferences")])
    raise UserError(f"{target}: neither a file of preference pairs nor a run under {runs}{hint}")


def _unfilled(files: dict[str, Path]) -> list[str]:
    """Return why kinds have fewer pairs than wanted, where a run says so."""
    summary = next(iter(files.values())).with_name("summary.json")
    if not summary.is_file() or set(files) - set(_PARTS):
        return []
    found = read_json(summary)
    return [f"{part}, {kind}: {why}" for part in files for kind, why in found[part]["unfilled"].items()]


def _table(title: str, figures: dict[str, dict[str, float]]) -> Table:
    table = Table(title=Text(one_line(title)))
    table.add_column("kind")
    counts, shares = ("pairs", "share", "mirrors", "personas", "repeated"), ("longer", "shorter", "matched")
    for head in (*counts, "words +", "words −", "difference", *shares):
        table.add_column(head, justify="right")
    for kind, row in figures.items():
        if kind == "all":
            table.add_section()
        table.add_row(
            Text(one_line(kind)),
            *(f"{row[name]:,}" if name != "share" else f"{100 * row[name]:.0f} %" for name in counts),
            *(f"{row[name]:.1f}" for name in ("words_chosen", "words_rejected")),
            f"{row['difference']:+.2f}",
            *(f"{100 * row[name]:.0f} %" for name in shares),
        )
    return table


def _show(console: Console, pair: PreferencePair) -> None:
    console.print(Text("\n" + one_line(f"{pair.kind} · {pair.origin}"), style="bold"))
    console.print(Text("  " + one_line(f"persona: {' | '.join(pair.context.persona.traits)}"), style="dim"))
    for turn in pair.context.history:
        console.print(Text("  " + one_line(f"{turn.speaker}: {turn.text}")))
    console.print(Text("  " + one_line(f"+ {pair.chosen}"), style="green"))
    console.print(Text("  " + one_line(f"− {pair.rejected}"), style="red"))
