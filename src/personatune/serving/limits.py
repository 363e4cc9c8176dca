"""How much one request may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The defaults are far above what a chat needs, and far below what would stall two cores.

    Attributes:
        body_bytes: of a request.
        messages: of a request; a front-end sends the whole chat with every line.
        message_characters: of one message.
        stops: strings that end a reply, each of at most ``stop_characters``.
        seconds: a request may take, the wait in line included.
        body_seconds: its body may take to arrive.
    """

    body_bytes: int = 2**20
    messages: int = 1000
    message_characters: int = 32_000
    stops: int = 4
    stop_characters: int = 100
    seconds: float = 120.0
    body_seconds: float = 30.0
