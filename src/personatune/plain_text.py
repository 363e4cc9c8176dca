"""Text from strangers (people, models, files) without anything that steers a terminal."""

from __future__ import annotations

import re
import unicodedata

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
