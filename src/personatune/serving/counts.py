"""What the server has done so far, in Prometheus's text form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Counts:
    """Figures that only grow; those of replies are written by the desk's thread alone.

    Attributes:
        replies: that were finished.
        tokens: decoded, for whomever.
        cancelled: replies whose client went away, or whose time was over, before their end.
        late_tokens: decoded for such a reply after that.
        failed: replies at which the model failed.
        statuses: of answers, by their number in HTTP.
    """

    replies: int = 0
    tokens: int = 0
    cancelled: int = 0
    late_tokens: int = 0
    failed: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    def text(self, *, waiting: int, busy: bool) -> str:
        """Return all figures, with the line and the process's memory as they are now."""
        import psutil

        process = psutil.Process()
        figures = [
            ("personatune_replies_total", "counter", self.replies),
            ("personatune_reply_tokens_total", "counter", self.tokens),
            ("personatune_cancelled_replies_total", "counter", self.cancelled),
            ("personatune_late_tokens_total", "counter", self.late_tokens),
            ("personatune_failed_replies_total", "counter", self.failed),
            ("personatune_waiting", "gauge", waiting),
            ("personatune_busy", "gauge", int(busy)),
            ("process_resident_memory_bytes", "gauge", process.memory_info().rss),
            ("process_threads", "gauge", process.num_threads()),
        ]
        lines = [line for name, kind, value in figures for line in (f"# TYPE {name} {kind}", f"{name} {value}")]
        lines.append("# TYPE personatune_answers_total counter")
        lines += [
            f'personatune_answers_total{{status="{status}"}} {count}' for status, count in sorted(self.statuses.items())
        ]
        return "\n".join(lines) + "\n"


class CountedAnswers:
    """An ASGI middleware that counts the answers' statuses."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts.statuses[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted)
