"""How much one request, one connection and one address may ask of the server."""

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
        head_seconds: its head may take to arrive, from the connection's or the head's first byte on.
        idle_seconds: a connection may rest between requests; more than the longest ``Retry-After``, so that who comes
            back as told doesn't find it closed that very moment.
        connections: at the same time.
        per_minute: requests of one address, with or without a right key; 0 counts nobody's.
    """

    body_bytes: int = 2**20
    messages: int = 1000
    message_characters: int = 32_000
    stops: int = 4
    stop_characters: int = 100
    seconds: float = 120.0
    body_seconds: float = 30.0
    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    connections: int = 256
    per_minute: int = 0

    @property
    def request_seconds(self) -> float:
        """How long a connection may be busy with one request, the reading of the answer by its client included."""
        return self.body_seconds + self.seconds + self.head_seconds
