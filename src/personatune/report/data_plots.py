"""Draws what went into a run: cleaning, lengths, personas, turns that draw on them, preference pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from personatune.report.drawing import COLOURS, Plot, legend
from personatune.report.sections import Table

_SPLITS = {"train": COLOURS[0], "validation": COLOURS[6], "test": COLOURS[1]}
_KINDS = {"dropped": COLOURS[1], "skipped": COLOURS[4], "mended": COLOURS[0]}
_ROW_HEIGHT = 0.22  # inches of a horizontal bar with its label
_LABEL_WIDTH = 36  # characters


def splits_table(statistics: Mapping[str, Any]) -> Table:
    """Return the counts and means of every split.

    Args:
        statistics: of `PreparedData.statistics`: split -> what `inspection.describe` returns.
    """
    splits = [split for split in _SPLITS if split in statistics]
    names = [name for name, value in statistics[splits[0]].items() if isinstance(value, int | float)] if splits else []
    rows = [(name.replace("_", " "), *(_number(statistics[split][name]) for split in splits)) for name in names]
    return Table("After cleaning, split by persona", ("", *splits), rows, missing="there is no split")


def cleaning_plot(counts: Mapping[str, int]) -> Plot:
    """Draw how many rows were skipped, dialogues dropped and turns mended, each by its reason.

    Args:
        counts: of `PreparedData.counts`; what was added is no loss and stays out.
    """
    title = "What cleaning did, by reason"
    found = {reason: count for reason, count in counts.items() if count and not reason.startswith("added")}
    if not found:
        return Plot(title, None, "nothing was skipped, dropped or mended")
    rows = sorted(found.items(), key=lambda row: (list(_KINDS).index(_kind(row[0])), row[1]), reverse=True)

    def draw(axes: Any) -> None:
        axes.figure.set_size_inches(6.4, 0.9 + _ROW_HEIGHT * len(rows))
        names = [fill(reason.partition(": ")[2] or reason, _LABEL_WIDTH) for reason, _ in rows]
        bars = axes.barh(range(len(rows)), [count for _, count in rows], color=[_KINDS[_kind(r)] for r, _ in rows])
        axes.set_yticks(range(len(rows)), names, fontsize=8)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter("")
        axes.grid(visible=False)
        axes.margins(x=0.2)
        axes.set_xlabel("rows, dialogues, perspectives or turns (logarithmic)")
        shown = [kind for kind in _KINDS if any(_kind(reason) == kind for reason, _ in rows)]
        patches = [bars[next(i for i, (r, _) in enumerate(rows) if _kind(r) == kind)] for kind in shown]
        axes.legend(patches, shown, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))

    text = "; ".join(f"{reason} {count:,}" for reason, count in reversed(rows))
    return Plot(title, draw, text)


def lengths_plot(statistics: Mapping[str, Any]) -> Plot:
    """Draw how long turns are in each split, as shares of its turns.

    Args:
        statistics: of `PreparedData.statistics`: split -> what `inspection.describe` returns.
    """
    title = "Words of a turn"
    splits = {split: statistics[split] for split in _SPLITS if statistics.get(split, {}).get("turns")}
    if not splits:
        return Plot(title, None, "no split holds a turn")

    def draw(axes: Any) -> None:
        for split, found in splits.items():
            lengths = {int(words): count for words, count in found["turn_lengths"].items()}
            shares = [100 * lengths.get(words, 0) / found["turns"] for words in range(max(lengths) + 1)]
            axes.plot(shares, label=split, color=_SPLITS[split])
        axes.set_xlabel("words")
        axes.set_ylabel("turns of the split, %")
        legend(axes)

    means = (f"{split} {found['words_per_turn']:.1f} words on average" for split, found in splits.items())
    return Plot(title, draw, "; ".join(means))


def grounding_plot(by_split: Mapping[str, Mapping[int, tuple[int, int]]]) -> Plot:
    """Draw which share of the own turns draws on the persona, reply after reply.

    Args:
        by_split: split -> what `inspection.grounding_by_reply` returns.
    """
    title = "Replies that draw on the persona"
    splits = {split: by_split[split] for split in _SPLITS if by_split.get(split)}
    if not splits:
        return Plot(title, None, "no split holds an own turn")

    def draw(axes: Any) -> None:
        for split, found in splits.items():
            shares = [100 * drawing / turns for drawing, turns in found.values()]
            axes.plot(list(found), shares, label=split, color=_SPLITS[split], marker="o", markersize=3)
        axes.set_ylim(0, 104)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("reply of the dialogue")
        axes.set_ylabel("draws on the persona, %")
        legend(axes)

    totals = {split: [sum(column) for column in zip(*found.values(), strict=True)] for split, found in splits.items()}
    text = "; ".join(f"{split} {drawing / turns:.0%} of {turns:,}" for split, (drawing, turns) in totals.items())
    return Plot(title, draw, text)


def trait_words_plot(counted: Sequence[tuple[str, int]]) -> Plot:
    """Draw the words that most personas speak of.

    Args:
        counted: of `inspection.trait_words`: (word, personas), most frequent first.
    """
    title = "What personas speak of"
    if not counted:
        return Plot(title, None, "no persona has a content word")

    def draw(axes: Any) -> None:
        axes.figure.set_size_inches(4.8, 0.7 + _ROW_HEIGHT * len(counted))
        words, counts = zip(*reversed(counted), strict=True)
        bars = axes.barh(words, counts, color=_SPLITS["train"])
        axes.bar_label(bars, padding=3, fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.grid(visible=False)
        axes.margins(x=0.12)
        axes.set_xlabel("personas with the word")

    text = ", ".join(f"{word} {count}" for word, count in counted)
    return Plot(title, draw, text)


def pair_kinds_plot(summary: Mapping[str, Any]) -> Plot:
    """Draw how many preference pairs of each kind were made, for training and for the test.

    Args:
        summary: what ``preferences/summary.json`` holds.
    """
    title = "Preference pairs by what is wrong with the worse reply"
    parts = {"train": summary["train"]["counts"], "test": summary["test"]["counts"]}
    kinds = sorted({kind for counts in parts.values() for kind in counts}, reverse=True)
    if not kinds:
        return Plot(title, None, "no pair was made")

    def draw(axes: Any) -> None:
        for place, (part, counts) in enumerate(parts.items()):
            rows = [row + 0.2 - 0.4 * place for row in range(len(kinds))]
            bars = axes.barh(rows, [counts.get(kind, 0) for kind in kinds], 0.38, label=part, color=_SPLITS[part])
            axes.bar_label(bars, padding=3, fontsize=8)
        axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
        axes.grid(visible=False)
        axes.margins(x=0.12)
        axes.set_xlabel("pairs")
        legend(axes)

    text = "; ".join(
        f"{part}: {', '.join(f'{kind} {count}' for kind, count in counts.items())}" for part, counts in parts.items()
    )
    return Plot(title, draw, text)


def _kind(reason: str) -> str:
    kind = reason.partition(":")[0]
    return kind if kind in _KINDS else "mended"


def _number(value: float) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
