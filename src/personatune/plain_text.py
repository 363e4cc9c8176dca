"""Text from strangers (people, models, files) without anything that steers a terminal, is markup, or is a secret."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# CSI and OSC escape sequences as a whole, so that "\x1b[31mred" leaves "red" and not "[31mred".
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain_text(text: str) -> str:
    """Return ``text`` without anything that steers a terminal: escape sequences, control and direction characters.

    Newlines stay, tabs become spaces, bytes that were no UTF-8 become question marks.
    """
    text = _ESCAPE_SEQUENCE.sub("", text).replace("\t", " ").encode("utf-8", "replace").decode("utf-8")
    return "".join(
        character
        for character in text
        if character == "\n" or (unicodedata.category(character) != "Cc" and character not in _BIDI_CONTROLS)
    )


def whole_characters(text: str) -> str:
    """Return ``text`` as UTF-8 can hold it: halves of surrogate pairs are joined, and U+FFFD stands for a lone one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


LONGEST_LINE = 2000
"""Characters of a message: a stranger's file may hold a "column" of a megabyte."""


def one_line(text: str) -> str:
    """Return a message as a single line that steers no terminal; of a longer one the middle is left out."""
    if not text.isprintable():
        text = " ".join(part for line in plain_text(text).split("\n") if (part := line.strip()))
        text = "".join(one if one.isprintable() or one == "\u200d" else " " for one in text)
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE * 3 // 4]} […] {text[-LONGEST_LINE // 4 + 5 :]}"
    return text


# What begins a heading, a list, a rule, a definition or a box where a line begins with it; "-0.3" begins nothing.
_BLOCK = re.compile(r"[#:!?=]|[+-](?=\s|$)|-(?=[\s-]+$)|\d{1,9}(?=[.)](?:\s|$))")
_NUMBERED = {ord(one): f"&#{ord(one)};" for one in "~${}"}  # struck out and fences, formulas, attributes


def markdown_text(text: str) -> str:
    """Escape what Markdown or the HTML inside it would read as markup, and keep a table row on one line.

    Characters that not every Markdown unescapes after a backslash become HTML's numbers for them.
    """
    text = " ".join(plain_text(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\`*_[]|":
        text = text.replace(character, f"\\{character}")
    text = text.translate(_NUMBERED)
    if begins := _BLOCK.match(text):
        at = begins.end() if begins[0][-1].isdigit() else 0
        text = f"{text[:at]}&#{ord(text[at])};{text[at + 1 :]}"
    end = len(text.rstrip("#"))  # a heading may close with such marks
    return text[:end] + "&#35;" * (len(text) - end)


HIDDEN = "(hidden)"
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}|\bwandb_v\d_[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}")
_SHORTEST_SECRET = 12  # a shorter value of such a variable ("1", "embedded") is no secret, and stands in many texts


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return ``text`` without access tokens, logins inside addresses, and values of variables called ``…_TOKEN``.

    Args:
        environment: where such variables stand; the process's own by default.
    """
    for name, value in (os.environ if environment is None else environment).items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.search(name.upper()):
            text = text.replace(value, HIDDEN)
    return _TOKEN.sub(HIDDEN, _LOGIN_IN_URL.sub(HIDDEN, text))


def hide_secrets(tree: Any) -> Any:
    """Return settings with `without_secrets` applied to every text in them."""
    if isinstance(tree, Mapping):
        return {key: hide_secrets(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [hide_secrets(value) for value in tree]
    return without_secrets(tree) if isinstance(tree, str) else tree
