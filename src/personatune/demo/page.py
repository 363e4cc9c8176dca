"""What each action of a visitor does and what the page shows of it; as plain values, so that no gradio is needed.

A message of a chat is (role, text, html): html stands in place of text where there is some.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from personatune.demo.ballots import Ballots
from personatune.demo.bubbles import message_html, reply_html, sentences_html
from personatune.demo.chat import Chat, line_said
from personatune.demo.duel import Choice, Duel
from personatune.demo.gauge import gauge_html
from personatune.demo.reading import Reader, ReplyReading
from personatune.demo.shelf import Shelf
from personatune.demo.tab import Tab, side
from personatune.demo.transcript import export_chat
from personatune.errors import UserError

WAITING = "…"


class Message(NamedTuple):
    """One message of a chat; ``html`` (escaped, with our marks) is shown in place of ``text`` where there is some."""

    role: str
    text: str
    html: str = ""


@dataclass(frozen=True)
class ChatView:
    """What the chat's part of the page shows; None leaves a part as it is."""

    messages: list[Message]
    box: str | None = None
    gauge: str | None = None
    line: str = ""
    ratings: list[bool | None] | None = None


@dataclass(frozen=True)
class DuelView:
    """What the duel's part of the page shows; None leaves a part as it is."""

    left: list[Message]
    right: list[Message]
    box: str | None = None
    line: str = ""


class Page:
    """All actions; it holds nothing of any visitor, who is in the `Tab` that each action is given."""

    def __init__(self, shelf: Shelf, ballots: Ballots, reader: Reader, *, seed: int | None = None) -> None:
        self.shelf = shelf
        self.ballots = ballots
        self._reader = reader
        self._seed = seed

    def new_tab(self) -> Tab:
        return Tab(self.shelf, self.ballots, self._reader, seed=self._seed)

    # --- persona ---

    def persona_shown(self, tab: Tab) -> str:
        """Return whom the tab talks with, as HTML."""
        return sentences_html(tab.persona.traits, tab.name)

    def pick(self, tab: Tab, label: str | None) -> tuple[str | None, str]:
        """Return sentences for editing (None: as they were) and a line."""
        try:
            return tab.pick(label), ""
        except UserError as error:
            return None, message_html(str(error), "error")

    def import_card(self, tab: Tab, upload: str | None, user: str) -> tuple[str | None, str]:
        """Return a card's sentences for editing (None: as they were) and a line."""
        if not upload:
            return None, ""
        try:
            text, told = tab.import_card(Path(upload), user)
        except UserError as error:
            return None, message_html(str(error), "error")
        return text, message_html(told)

    def begin(self, tab: Tab, text: str) -> str:
        """Begin anew with the edited sentences; return a line."""
        try:
            tab.begin(text)
        except UserError as error:
            return message_html(str(error), "error")
        return message_html("A new conversation has begun.")

    # --- chat ---

    def chat_view(self, tab: Tab, line: str = "", box: str | None = None) -> ChatView:
        """Return the chat as it stands, all replies marked."""
        chat = tab.chat
        readings = chat.readings()
        shown = gauge_html(readings, chat.judge)
        return ChatView(_marked(chat, readings), box, shown, line, chat.ratings())

    def say(self, tab: Tab, text: str, model: str, rerank: bool) -> Iterator[ChatView]:
        """Yield the page while a reply is written."""
        return self._written(tab, text, model, rerank, lambda: tab.chat.say(text), len(tab.chat.session.exchanges))

    def retry(self, tab: Tab, exchange: int, model: str, rerank: bool) -> Iterator[ChatView]:
        """Yield the page while a reply is written anew."""
        exchanges = tab.chat.session.exchanges
        if not -len(exchanges) <= exchange < len(exchanges):
            yield self.chat_view(tab, message_html("nothing to retry: no reply there yet", "error"))
            return
        place = exchange % len(exchanges)
        said = exchanges[place].said
        yield from self._written(tab, said, model, rerank, lambda: tab.chat.retry(place), place, lost="")

    def edit(self, tab: Tab, exchange: int, text: str, model: str, rerank: bool) -> Iterator[ChatView]:
        """Yield the page while other words are answered."""
        return self._written(tab, text, model, rerank, lambda: tab.chat.edit(exchange, text), exchange)

    def undo(self, tab: Tab, exchange: int = -1) -> ChatView:
        """Take an exchange back; its words return to the box."""
        try:
            return self.chat_view(tab, box=tab.chat.rewind(exchange))
        except UserError as error:
            return self.chat_view(tab, message_html(str(error), "error"))

    def forget(self, tab: Tab) -> ChatView:
        """Begin the chat anew; what was voted stays saved."""
        try:
            tab.chat.forget()
        except UserError as error:
            return self.chat_view(tab, message_html(str(error), "error"))
        return self.chat_view(tab)

    def rate(self, tab: Tab, exchange: int, liked: bool | None) -> ChatView:
        """Like or dislike."""
        try:
            return self.chat_view(tab, message_html(tab.chat.rate(exchange, liked)))
        except UserError as error:
            return self.chat_view(tab, message_html(str(error), "error"))

    def export(self, tab: Tab) -> tuple[list[str], str]:
        """Write the chat's files into a fresh folder; return their paths and a line."""
        try:
            files = export_chat(tab.chat, Path(tempfile.mkdtemp(prefix="personatune-chat-")))
        except UserError as error:
            return [], message_html(str(error), "error")
        return [str(file) for file in files], message_html("Written: JSON with all marks, text, and a dialogue file.")

    def _written(
        self,
        tab: Tab,
        said: str,
        model: str,
        rerank: bool,
        reply: Callable[[], Iterator[str]],
        kept: int,
        lost: str | None = None,
    ) -> Iterator[ChatView]:
        chat = tab.chat
        before = _marked(chat, chat.readings())[: 2 * kept + _opening(chat)]
        try:
            chat.require_idle()
            said = line_said(said)
            chat.model, chat.rerank = model, rerank
            pieces = reply()
            yield ChatView([*before, Message("user", said), Message("assistant", WAITING)], box="")
            for shown in pieces:
                yield ChatView([*before, Message("user", said), Message("assistant", shown or WAITING)])
        except UserError as error:
            yield self.chat_view(tab, message_html(str(error), "error"), box=said if lost is None else lost)
            return
        yield self.chat_view(tab)

    # --- duel ---

    def duel_view(self, tab: Tab, line: str = "", box: str | None = None) -> DuelView:
        """Return both sides as they stand: what was kept, marked, then what stands to be voted on, unmarked."""
        duel = tab.duel
        kept = _marked(duel, duel.readings())
        if duel.round is None:
            return DuelView(kept, kept, box, line)
        said = Message("user", duel.round.context.history[-1].text)
        left, right = ([*kept, said, Message("assistant", reply or WAITING)] for reply in duel.round.replies)
        return DuelView(left, right, box, line)

    def challenge(self, tab: Tab, text: str, first: str, second: str) -> Iterator[DuelView]:
        """Yield both sides while they are written."""
        duel = tab.duel
        try:
            duel.require_idle()
            if duel.round is None:
                one, other = side(first, self.shelf), side(second, self.shelf)
                duel.choose(one[0], other[0], (one[1], other[1]))
            kept = _marked(duel, duel.readings())
            begun = False
            for left, right in duel.say(text):
                said = Message("user", text)
                yield DuelView(
                    [*kept, said, Message("assistant", left or WAITING)],
                    [*kept, said, Message("assistant", right or WAITING)],
                    None if begun else "",
                    message_html("Two replies are being written …"),
                )
                begun = True
        except UserError as error:
            yield self.duel_view(tab, message_html(str(error), "error"), box=text)
            return
        yield self.duel_view(tab, message_html("Which reply is better? Who is who is told after your vote."))

    def vote(self, tab: Tab, choice: Choice) -> DuelView:
        """Vote, and tell who was who."""
        try:
            verdict = tab.duel.vote(choice)
        except UserError as error:
            return self.duel_view(tab, message_html(str(error), "error"))
        return self.duel_view(tab, message_html(verdict.told), box=verdict.said or None)

    def forget_duel(self, tab: Tab) -> DuelView:
        """Begin the duel anew; what was voted stays saved."""
        try:
            tab.duel.forget()
        except UserError as error:
            return self.duel_view(tab, message_html(str(error), "error"))
        return self.duel_view(tab)

    def take_back(self, tab: Tab) -> DuelView:
        """Take the last words of a duel back; they return to the box."""
        try:
            return self.duel_view(tab, box=tab.duel.take_back())
        except UserError as error:
            return self.duel_view(tab, message_html(str(error), "error"))


def exchange_at(tab: Tab, index: int) -> int:
    """Return the exchange that a message of the chat belongs to; for a greeting one that isn't there."""
    opening = _opening(tab.chat)
    return (index - opening) // 2 if index >= opening else len(tab.chat.session.exchanges)


def _opening(chat: Chat | Duel) -> int:
    return 0 if chat.session.greeting is None else 1


def _marked(chat: Chat | Duel, readings: list[ReplyReading]) -> list[Message]:
    opening = [] if chat.session.greeting is None else [Message("assistant", chat.session.greeting)]
    for exchange, reading in zip(chat.session.exchanges, readings, strict=True):
        opening += [Message("user", exchange.said), Message("assistant", exchange.reply, reply_html(reading))]
    return opening
