"""What everything else talks about: personas, turns, dialogues, preference pairs and probes.

Plain data without torch. Every class turns into a JSON object and back (``to_json``, ``from_json``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["self", "partner"]

MAX_TRAITS = 20  # four times what the presets train on; more would push the dialogue out of the context
MAX_TRAIT_CHARACTERS = 200  # a trait is a sentence; the longest of Synthetic-Persona-Chat has under 150


@dataclass(frozen=True, slots=True)
class Persona:
    """The sentences ("traits") that describe one speaker, in the first person: "I have two dogs."."""

    traits: tuple[str, ...]
    name: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"traits": list(self.traits), "name": self.name}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Persona:
        return cls(tuple(row["traits"]), row.get("name"))


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. In a `Dialogue` the speaker is a name; seen from a persona it is "self" or "partner"."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a reply answers to: the replying speaker's persona and the turns so far (last one the partner's).

    The speaker of each turn is "self" or "partner".
    """

    persona: Persona
    history: tuple[Turn, ...]

    def to_json(self) -> dict[str, Any]:
        return {"persona": self.persona.to_json(), "history": _turns_to_json(self.history)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Context:
        return cls(Persona.from_json(row["persona"]), _turns_from_json(row["history"]))


@dataclass(frozen=True, slots=True)
class Episode:
    """A conversation to be held: where it begins, and what the partner says after each reply that is given.

    The lines come one after the other whatever was replied; with none there is a single reply.
    """

    context: Context
    lines: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**self.context.to_json(), "lines": list(self.lines)} if self.lines else self.context.to_json()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Episode:
        return cls(Context.from_json(row), tuple(row.get("lines", ())))


@dataclass(frozen=True, slots=True)
class Perspective:
    """A dialogue as one of its speakers lives it: own persona, every turn marked "self" or "partner"."""

    id: str
    persona: Persona
    turns: tuple[Turn, ...]

    def replies(self) -> Iterator[tuple[Context, str]]:
        """Yield each own turn that answers the partner, with what came before it."""
        for index, turn in enumerate(self.turns):
            if turn.speaker == "self" and index and self.turns[index - 1].speaker == "partner":
                yield Context(self.persona, self.turns[:index]), turn.text

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "persona": self.persona.to_json(), "turns": _turns_to_json(self.turns)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Perspective:
        return cls(row["id"], Persona.from_json(row["persona"]), _turns_from_json(row["turns"]))


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation of two speakers as a source gives it.

    Attributes:
        id: unique within the source.
        turns: in order; `Turn.speaker` is one of the two names.
        personas: speaker name to the persona of that speaker; a speaker without one is left out.
        split: "train", "validation" or "test" where the source says so, else None.
        ratings: human ratings of the conversation by name (chitchat: witty, interesting, upbeat), if any.
    """

    id: str
    turns: tuple[Turn, ...]
    personas: Mapping[str, Persona]
    split: str | None = None
    ratings: Mapping[str, float] = field(default_factory=dict)

    def seen_by(self, speaker: str) -> Perspective:
        """Return the dialogue as ``speaker`` lives it."""
        turns = tuple(Turn("self" if turn.speaker == speaker else "partner", turn.text) for turn in self.turns)
        return Perspective(f"{self.id}/{speaker}", self.personas[speaker], turns)

    def perspectives(self) -> Iterator[Perspective]:
        """Yield one perspective for every one of the `speakers`."""
        yield from map(self.seen_by, self.speakers())

    def speakers(self) -> Iterator[str]:
        """Yield the name of every speaker who has a persona and says something."""
        spoken = {turn.speaker for turn in self.turns}
        for speaker, persona in self.personas.items():
            if persona.traits and speaker in spoken:
                yield speaker

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "turns": _turns_to_json(self.turns),
            "personas": {speaker: persona.to_json() for speaker, persona in self.personas.items()},
            "split": self.split,
            "ratings": dict(self.ratings),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Dialogue:
        personas = {speaker: Persona.from_json(persona) for speaker, persona in row["personas"].items()}
        return cls(row["id"], _turns_from_json(row["turns"]), personas, row.get("split"), row.get("ratings") or {})


VOTE = "vote"
"""The kind of a pair that people voted on."""


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two replies to one context, the first better.

    Attributes:
        kind: why the rejected reply is worse ("persona_swap", "contradiction", "conflict", "generic", "off_topic",
            "model_sample", or `VOTE`).
        origin: where both replies come from, e.g. "gold | spc-17/User 1".
    """

    context: Context
    chosen: str
    rejected: str
    kind: str
    origin: str

    def to_json(self) -> dict[str, Any]:
        return {
            "context": self.context.to_json(),
            "chosen": self.chosen,
            "rejected": self.rejected,
            "kind": self.kind,
            "origin": self.origin,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> PreferencePair:
        return cls(Context.from_json(row["context"]), row["chosen"], row["rejected"], row["kind"], row["origin"])


@dataclass(frozen=True, slots=True)
class WrittenDialogue:
    """A dialogue written to teach a persona, seen by its character.

    Attributes:
        wrong: for the index of an own turn, a reply that contradicts the persona there.
        rests_on: for the index of an own turn, the place of the persona sentence that it rests on, where there is one.
    """

    view: Perspective
    wrong: Mapping[int, str]
    rests_on: Mapping[int, int] = field(default_factory=dict)

    def pairs(self, max_history_turns: int) -> Iterator[PreferencePair]:
        """Yield each reply that has a wrong twin as the better one of a pair of kind "contradiction"."""
        for index, wrong in self.wrong.items():
            context = Context(self.view.persona, self.view.turns[max(0, index - max_history_turns) : index])
            origin = f"written | {self.view.id}/{index}"
            yield PreferencePair(context, self.view.turns[index].text, wrong, "contradiction", origin)


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that one trait answers and that doesn't contain the trait's keywords.

    Attributes:
        keywords: an answer that carries one of these (as stems) expresses the trait.
        contradicting: an answer that carries one of these contradicts it.
    """

    trait: str
    question: str
    keywords: tuple[str, ...]
    contradicting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeScript:
    """What the partner says in one probe dialogue: lines in order, with the probe a line asks (None: small talk)."""

    persona: Persona
    lines: tuple[tuple[str, Probe | None], ...]


@dataclass(frozen=True, slots=True)
class RankingTask:
    """One context and the replies to choose from.

    Attributes:
        id: where it comes from, "file:record".
        candidates: the replies, in the file's order.
        kinds: the class of each candidate; "gold" is the right one. Dialogue-NLI: "gold", "neg" (contradicts the
            persona), "similar" (entailed by it), "rand"; ConvAI2: "gold" and "rand".
    """

    id: str
    context: Context
    candidates: tuple[str, ...]
    kinds: tuple[str, ...]


Respond = Callable[[Sequence[Context]], list[str]]
"""A chatbot: one reply for each context, in order. Models, floors and people all fit it."""

Rank = Callable[[Sequence[RankingTask]], list[list[float]]]
"""A ranker: one score for each candidate of each task, higher is better. Models, floors and people all fit it."""


def _turns_to_json(turns: Sequence[Turn]) -> list[list[str]]:
    return [[turn.speaker, turn.text] for turn in turns]


def _turns_from_json(rows: Sequence[Sequence[str]]) -> tuple[Turn, ...]:
    return tuple(Turn(speaker, text) for speaker, text in rows)
