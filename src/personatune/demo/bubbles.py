"""Replies as HTML: the words of people and models, always escaped, and our own marks around them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape, unescape

from personatune.demo.reading import Mark, ReplyReading
from personatune.plain_text import plain_text

_WORDS = {
    "expressed": "expresses",
    "contradicted": "contradicts",
    "doubtful": "may contradict",
    "hinted": "may express",
}
_SIGNS = {"expressed": "✓", "contradicted": "✗", "doubtful": "?", "hinted": "≈"}
_MARKERS = frozenset("{}$`[]_*~|\\")
"""What templates and markdown are made of: escaped beside HTML's own characters, whatever a page would make of it."""


def as_html(text: str) -> str:
    """Return text that a page shows exactly as it stands, without control characters; line breaks stay."""
    return "".join(f"&#{ord(one)};" if one in _MARKERS else escape(one) for one in plain_text(text))


def chat_text(text: str) -> str:
    """Return text for gradio's chat, which takes what it is given for HTML even where markdown is off."""
    return escape(plain_text(text), quote=False)


def said_in_chat(text: str) -> str:
    """Return what somebody wrote who edited `chat_text`."""
    return unescape(text)


def reply_html(reading: ReplyReading) -> str:
    """Return a reply with its words highlighted and the persona sentences that it touches below."""
    kind = "contradicts" if reading.contradicts else "expresses" if reading.expresses else "neutral"
    notes = [_note(mark) for mark in reading.marks]
    notes += [
        f'<li class="pt-contradicted"><span>✗ contradicts</span> its own reply {number}</li>'
        for number in reading.clashes
    ]
    listed = f'<ul class="pt-marks">{"".join(notes)}</ul>' if notes else ""
    return f'<div class="pt-reply pt-{kind}"><p class="pt-text">{_highlighted(reading)}</p>{listed}</div>'


def message_html(text: str, kind: str = "info") -> str:
    """Return a line for the reader, "info" or "error"; nothing for an empty text."""
    if not text:
        return ""
    role = "alert" if kind == "error" else "status"
    return f'<p class="pt-line pt-{escape(kind)}" role="{role}">{as_html(text)}</p>'


def sentences_html(traits: Sequence[str], name: str | None = None) -> str:
    """Return the persona that is talked with, as a list."""
    title = f"<b>{as_html(name)}</b>" if name else ""
    return f'<div class="pt-persona">{title}<ul>{"".join(f"<li>{as_html(trait)}</li>" for trait in traits)}</ul></div>'


def _highlighted(reading: ReplyReading) -> str:
    text, parts, at = reading.text, [], 0
    for span in reading.spans:
        parts.append(as_html(text[at : span.begin]))
        parts.append(f'<mark class="pt-{span.verdict}">{as_html(text[span.begin : span.end])}</mark>')
        at = span.end
    return "".join([*parts, as_html(text[at:])])


def _note(mark: Mark) -> str:
    return (
        f'<li class="pt-{mark.verdict}"><span>{_SIGNS[mark.verdict]} {_WORDS[mark.verdict]}</span> '
        f"{as_html(mark.trait)} <small>{escape(mark.by)}</small></li>"
    )
