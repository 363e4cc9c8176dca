"""A card as somebody to talk with: persona sentences, greetings, example dialogues, and the lore of a turn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from personatune.cards.examples import SILENCE, as_one_history, example_dialogues
from personatune.cards.first_person import character_of
from personatune.cards.limits import MAX_EXAMPLE_TURNS, MAX_LORE_CHARACTERS, MAX_PERSONA_CHARACTERS
from personatune.cards.lorebook import LoreScanner
from personatune.cards.macros import DEFAULT_USER, Macros
from personatune.cards.schema import CharacterCard
from personatune.cards.sentences import Told, card_text, lore_sentences, tell_about, tell_summary
from personatune.dialogue import MAX_TRAITS, Context, Persona, Turn


class CardCharacter:
    """The character of a card.

    Args:
        user: what the card's ``{{user}}`` stands for.

    Attributes:
        name: what ``{{char}}`` stands for.
        persona: at most 20 sentences and 1,200 characters in the first person; the name is one of them, since models
            are trained on personas that have no other.
        told: the sentences and everything left out, with reasons.
        greetings: `first_mes` and the alternate ones, ready to be said; empty ones are left out.
        example_dialogues: what `mes_example` holds.
        examples: their first turns, as if said before.
    """

    def __init__(self, card: CharacterCard, user: str = DEFAULT_USER) -> None:
        data = card.data
        self.card = card
        self.name = _one_line(data.nickname) or _one_line(data.name)
        self.user = _one_line(user) or DEFAULT_USER
        self.macros = Macros(self.name, self.user)
        description, personality = (self.macros.expand(text) for text in (data.description, data.personality))
        self._character = character_of(f"{description}\n{personality}", _one_line(data.name), self.name, self.user)
        self.told = self._tell(description, personality)
        self.persona = Persona(tuple(self.told.sentences))
        self.greetings = tuple(
            greeting
            for text in (data.first_mes, *data.alternate_greetings)
            if (greeting := card_text(self.macros.expand(text)).strip())
        )
        self.example_dialogues = example_dialogues(
            data.mes_example,
            self.macros,
            (_one_line(data.name),),
        )
        self.examples = as_one_history(self.example_dialogues)[:MAX_EXAMPLE_TURNS]
        self._scanner = LoreScanner(data.character_book, self.macros)
        self.regex_entries = self._scanner.regex_entries

    def lore(self, history: Sequence[Turn], greeting: int = 0) -> tuple[str, ...]:
        """Return the sentences of the lorebook entries that the last turns speak of, in the order of insertion.

        Where they are longer than 500 characters together, the entries of the lowest priority (or, without one, of the
        lowest insertion order) give way, as the specifications say of a full budget.
        """
        fired = self._scanner.fired(history, greeting)
        told = [lore_sentences(self.macros.expand(note.content), self._character) for note in fired]
        importance = [
            note.entry.insertion_order if note.entry.priority is None else note.entry.priority for note in fired
        ]
        kept: set[int] = set()
        room = MAX_LORE_CHARACTERS
        for index in sorted(range(len(fired)), key=lambda index: -importance[index]):
            length = sum(map(len, told[index]))
            if length <= room:
                kept.add(index)
                room -= length
        sentences = (sentence for index in sorted(kept) for sentence in told[index])
        return tuple(dict.fromkeys(sentence for sentence in sentences if sentence not in self.persona.traits))

    def context(self, history: Sequence[Turn]) -> Context:
        """Return what a reply is given of a chat: examples in front, and what the lorebook knows of the last turns.

        Args:
            history: "partner" and "self" in alternation, the partner's last; a greeting may be the first.
        """
        first = history[0]
        greeted = first.speaker == "self" and first.text in self.greetings
        lore = self.lore(history, self.greetings.index(first.text) if greeted else 0)
        persona = Persona((*self.persona.traits, *lore), self.persona.name) if lore else self.persona
        apart = (SILENCE,) if self.examples and first.speaker == "self" else ()
        return Context(persona, (*self.examples, *apart, *history))

    def _tell(self, description: str, personality: str) -> Told:
        told = Told()
        told.add(f"My name is {_one_line(self.card.data.name)}")
        tell_about(description, self._character, told)
        if personality.strip():
            tell_summary(personality, self._character, told)
        lengths = itertools.accumulate(map(len, told.sentences))
        count = min(MAX_TRAITS, max(1, sum(length <= MAX_PERSONA_CHARACTERS for length in lengths)))
        for sentence in told.sentences[count:]:
            told.drop(f"beyond {MAX_TRAITS} sentences or {MAX_PERSONA_CHARACTERS:,} characters", sentence)
        del told.sentences[count:]
        return told


def _one_line(text: str) -> str:
    return " ".join(card_text(text).split())
