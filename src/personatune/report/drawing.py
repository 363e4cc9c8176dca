"""Turns a drawing into SVG that sits inside a page (no files, no scripts, the page's own colours) or into a PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Draw = Callable[[Any], None]
"""Draws on matplotlib axes."""

COLOURS = ("#3b82c4", "#d9622b", "#2a9d6f", "#a65bd0", "#c9a227", "#d1477c", "#5f6b7a", "#3aa6b9")
"""Of several curves in one drawing; all of them readable on white and on black."""

INK = "#123456"  # stands for the page's text colour until the SVG is written
_PRINTED_INK = "#1b1f24"
_SIZE = (4.8, 3.0)  # inches: small, so that its letters stay readable on a phone's width
_PNG_DPI = 160
_SMOOTHED_FROM = 60  # points; a curve of fewer is read as it is


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure that can be drawn, or the reason why there is none.

    Attributes:
        draw: None where it was not measured.
        text: what it shows, for readers who can't see it; or the reason.
    """

    title: str
    draw: Draw | None
    text: str

    @property
    def name(self) -> str:
        """The title as a file name."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def svg(self) -> str | None:
        """The markup, in the colours of the page around it."""
        if self.draw is None:
            return None
        stream = io.StringIO()
        _saved(self.draw, INK, self.name, stream, format="svg", transparent=True, metadata={"Date": None})
        return _inline(stream.getvalue(), self.name)

    @property
    def png(self) -> bytes | None:
        """The picture on white, with its title."""
        if self.draw is None:
            return None
        stream = io.BytesIO()
        _saved(self.draw, _PRINTED_INK, self.name, stream, self.title, format="png", dpi=_PNG_DPI, facecolor="white")
        return stream.getvalue()


def curve(axes: Any, steps: Sequence[float], values: Sequence[float], label: str, colour: str) -> None:
    """Draw one curve; a long one faintly, with its moving mean over a twentieth of its length on top."""
    if len(steps) >= _SMOOTHED_FROM:
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.6)
        axes.plot(steps, _moving_mean(values), label=label, color=colour, linewidth=1.6)
    else:
        marker = "o" if len(steps) < 30 else ""
        axes.plot(steps, values, label=label, color=colour, marker=marker, markersize=3)


def legend(axes: Any, *more: Any) -> None:
    """Draw one legend, in the page's colour, for these axes and those that share their drawing."""
    handles, labels = axes.get_legend_handles_labels()
    for other in more:
        found = other.get_legend_handles_labels()
        handles, labels = handles + found[0], labels + found[1]
    axes.legend(handles, labels, frameon=False, labelcolor="linecolor" if len(labels) > 1 else None, fontsize=8)


def _moving_mean(values: Sequence[float]) -> list[float]:
    reach = max(1, len(values) // 40)
    windows = [values[max(0, place - reach) : place + reach + 1] for place in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def _saved(draw: Draw, ink: str, name: str, stream: Any, title: str | None = None, **options: Any) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style = {
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,  # names of runs are text
        **dict.fromkeys(inks, ink),
    }
    with rc_context(style):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#8a8f98", alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
        draw(axes)
        if title is not None:
            axes.set_title(title, fontsize=10)
        figure.savefig(stream, **options)


def _inline(svg: str, name: str) -> str:
    """Make a stand-alone SVG fit to sit in a page: no header, no metadata, own ids, the page's colour and width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return svg.replace(INK, "currentColor").strip()
