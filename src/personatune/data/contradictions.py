"""Rule edits that turn a reply against its own persona: "I have two dogs." becomes "I don't have any dogs.".

An edit touches a clause that speaks of the persona, keeps grammar, casing and spacing, and is left out where no rule
is sure: a hard negative with broken grammar would teach a reward model to look for broken grammar.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from personatune.data.value_swaps import swapped_numbers, swapped_values
from personatune.lexicon import ANTONYM_ATTITUDES
from personatune.words import keyword_stems, stems

EDIT_KINDS = ("attitude", "negated", "affirmed", "value", "number")
"""love/hate; a negation put in; a negation taken out; another value of an exclusive kind; another number."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A reply that contradicts its persona, the kind of edit and the words that changed ("love -> hate")."""

    text: str
    kind: str
    change: str


def contradict(
    reply: str, traits: Iterable[str], rng: random.Random, kinds: Collection[str] = EDIT_KINDS
) -> Edit | None:
    """Return the reply edited so that it contradicts the traits it draws on, or None where no rule applies.

    Args:
        traits: all sentences of the persona. Those that the reply draws on are contradicted; what stands in any other
            never comes in as the new value.
        kinds: the kinds of edit wanted (of `EDIT_KINDS`); one of those that apply is drawn.
    """
    persona = tuple(traits)
    drawn = tuple(trait for trait in persona if agrees_in_polarity(reply, trait))
    keywords = frozenset(word for trait in drawn for word in keyword_stems(trait))
    edits = [
        edit for kind in EDIT_KINDS if kind in kinds for edit in _edits(kind, reply, drawn, persona, keywords, rng)
    ]
    edits = [edit for edit in edits if edit.text.lower() != reply.lower()]
    return rng.choice(edits) if edits else None


_CLAUSE = re.compile(r"[^.!?;,]+[.!?;,]*")
_NEGATIVE = re.compile(
    r"n't\b|\b(?:not|never|no|none|neither|nor|without|cannot|dont|hate|hates|hated|dislike|dislikes|despise|allergic|quit"
    r"|stopped|used\s+to)\b",
    re.IGNORECASE,
)


def agrees_in_polarity(reply: str, trait: str) -> bool:
    """Say whether the reply states something of the trait, and in every such clause affirms what it affirms.

    "I'm not a fan of cats" doesn't agree with "I love cats."; a rough sign (is there a negation, or not), but where it
    fails the turn serves neither as the better reply nor for a contradiction.
    """
    keywords = frozenset(keyword_stems(trait))
    clauses = [clause for _, _, clause in _persona_clauses(reply, keywords)]
    return bool(clauses) and all(_is_negative(clause) == _is_negative(trait) for clause in clauses)


def _is_negative(text: str) -> bool:
    return bool(_NEGATIVE.search(text.replace("’", "'")))


def _edits(
    kind: str,
    reply: str,
    drawn: tuple[str, ...],
    persona: tuple[str, ...],
    keywords: frozenset[str],
    rng: random.Random,
) -> Iterator[Edit]:
    if kind in {"value", "number"}:
        swap = swapped_values if kind == "value" else swapped_numbers
        clauses = [(start, end) for start, end, _ in _persona_clauses(reply, keywords)]
        for text, change in swap(reply, clauses, drawn, persona, rng):
            yield Edit(text, kind, change)
        return
    for start, end, clause in _persona_clauses(reply, keywords):
        for pattern, change_of in _POLARITY_RULES[kind]:
            match = pattern.search(clause.replace("’", "'"))
            if match is None or not _stands_alone(clause[: match.start()]):
                continue
            if keywords.isdisjoint(stems(clause[match.start() :])):
                continue  # what is negated must be what the persona says
            new = change_of(match)
            if new is None:
                continue
            rest = _agreeing(clause[match.end() :].replace("’", "'"), negative=kind == "negated" or "don't" in new)
            if rest is None:
                continue
            edited = clause[: match.start()] + new + rest
            if "’" in reply:
                edited = edited.replace("'", "’")
            yield Edit(reply[:start] + edited + reply[end:], kind, f"{match[0]} -> {new}")
            break


def _persona_clauses(reply: str, keywords: frozenset[str]) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and text of each clause that carries a persona keyword and belongs to no question."""
    for match in _CLAUSE.finditer(reply):
        ends = re.search(r"[.!?]", reply[match.start() :])
        if (ends is None or ends[0] != "?") and not keywords.isdisjoint(stems(match[0])):
            yield match.start(), match.end(), match[0]


# A subject inside a sentence ("what I love about", "when I have time") would give a crooked sentence: it has to
# begin its clause, or follow one of these.
_OPENERS = re.compile(
    r"(?:\b(?:and|but|so|because|since|yes|yeah|yep|well|actually|oh|no|nope|ok|okay|haha|lol|hi|hello|hey|sure|cool|too"
    r"|unfortunately|honestly|currently|also|personally|though)\b|^)[\s\-:\"']*$",
    re.IGNORECASE,
)


def _stands_alone(before: str) -> bool:
    return bool(_OPENERS.search(before.strip() + " " if before.strip() else ""))


def _agreeing(rest: str, *, negative: bool) -> str | None:
    """Return the rest of an edited clause with "some/any" and "too/either" on the side of the new polarity.

    None where the rest holds on to the old polarity in a way no word swap mends ("anything", "at all", "not only").
    """
    if negative:
        if re.search(r"\b(?:as well|not|never|n't)\b|n't\b", rest, re.IGNORECASE):
            return None
        rest = re.sub(r"\bsome(?=\s)", "any", rest)
        return re.sub(r"\btoo(?=\s*[.!,;]*\s*$)", "either", rest)
    if re.search(r"\b(?:any\w+|at all|yet|much|even|either\s+\w+|nor|or|but|not|never)\b|n't\b", rest, re.IGNORECASE):
        return None
    rest = re.sub(r"\bany(?=\s)", "some", rest)
    return re.sub(r"\beither(?=\s*[.!,;]*\s*$)", "too", rest)


_Change = Callable[[re.Match[str]], str | None]
_NOT = r"(?:\s+do\s+not|\s+don't|\s+dont)"


def _rule(pattern: str, change: str | _Change) -> tuple[re.Pattern[str], _Change]:
    compiled = re.compile(pattern, re.IGNORECASE)
    if isinstance(change, str):
        return compiled, lambda match: match.expand(change)
    return compiled, change


def _turned_attitude(match: re.Match[str]) -> str | None:
    subject, gap, negation, verb = match[1], match[2], match[3], " ".join(match[4].lower().split())
    if negation:
        return f"{subject}{gap}{'love' if verb != 'hate' else 'hate'}"
    other = ANTONYM_ATTITUDES[verb]
    if other in {"can't stand", "dislike", "despise"} and re.match(r"\s+to\b", match.string[match.end() :]):
        other = "hate"  # nobody says "I can't stand to cook"
    return f"{subject}{gap}{other}"


def _not_so(match: re.Match[str]) -> str | None:
    named = match.string[match.end() : match.end() + 1].isupper()  # "I'm Sarah" gives a name
    return None if named else f"{match[1]}{match[2] or ''} not "


_ADVERB = r"((?:\s+(?:also|actually|still|just|definitely|absolutely|really|truly|totally))?)"
_ALSO = _ADVERB.removesuffix(")") + r"\s+)"
_VERBS = """live|work|play|own|eat|drink|cook|read|run|watch|listen|collect|study|teach|speak|drive|sing|dance|paint
    |write|go|walk|ride|bake|swim|hike|travel|garden|fish|hunt|sew|knit|draw|volunteer|attend|exercise|practice|ski
    |surf|shop|camp|train|coach|want|need|like|enjoy|prefer|spend|wear""".replace("\n", "").replace(" ", "")
_PAST = {
    "grew": "grow", "went": "go", "worked": "work", "played": "play", "lived": "live", "moved": "move",
    "studied": "study", "graduated": "graduate", "bought": "buy", "served": "serve", "won": "win",
    "started": "start", "taught": "teach", "wrote": "write", "traveled": "travel", "learned": "learn",
    "visited": "visit", "joined": "join", "majored": "major", "got": "get", "had": "have",
}  # fmt: skip
_PRESENT = {base: past for past, base in _PAST.items()}
# After "I'm" these speak of the moment, not of the person.
_PASSING = (
    "not|sorry|glad|sure|so|doing|good|fine|excited|happy|just|here|going|gonna|looking|trying|thinking|well|great"
)
_PASSING += "|okay|ok|interested|too|in the same|pretty|curious|jealous|about|that|like|always|never"
_COUNTS = (
    r"two|three|four|five|six|seven|eight|nine|ten|\d+|some|many|several|lots\s+of|plenty\s+of|a\s+few|a\s+couple\s+of"
)

_POLARITY_RULES: dict[str, list[tuple[re.Pattern[str], _Change]]] = {
    "attitude": [
        _rule(
            rf"\b(I|we){_ALSO}((?:don't|do\s+not)\s+(?:really\s+)?)?"
            r"(like|love|enjoy|adore|hate|dislike|can't\s+stand|cannot\s+stand)\b(?!\s+(?:it|that|this|them|your|you|how|when)\b)",
            _turned_attitude,
        ),
    ],
    "negated": [
        _rule(rf"\b(I|we){_ALSO}have\s+(?:{_COUNTS})\b(?!\s+(?:to|of\s+(?:my|the))\b)", r"\1\2don't have any"),
        _rule(rf"\b(I|we){_ALSO}have\s+(a|an|my\s+own)\b(?!\s+(?:few|couple|lot))", r"\1\2don't have \3"),
        _rule(r"\b(I|we)'ve\s+got\s+(a|an|\w+)\b", r"\1 haven't got \2"),
        _rule(
            rf"\b(I'm|I\s+am|we're|we\s+are)(\s+(?:also|actually|still|currently))?\s+(?!(?:{_PASSING})\b)",
            _not_so,
        ),
        _rule(rf"\b(I|we)(\s+(?:also|actually|still|just))?\s+(?=(?:{_VERBS})\b)", r"\1\2 don't "),
        _rule(rf"\b(I|we)\s+(usually|really|often|normally)\s+(?=(?:{_VERBS})\b)", r"\1 don't \2 "),
        _rule(r"\b(I|we)\s+(?:always|sometimes|often)\s+(?=\w)", r"\1 never "),
        _rule(
            rf"\b(I|we)\s+(?:(also)\s+)?({'|'.join(_PAST)})\b(?!\s+(?:to|been)\b)",
            lambda match: f"{match[1]} {match[2] + ' ' if match[2] else ''}didn't {_PAST[match[3].lower()]}",
        ),
        _rule(r"\b(I)\s+was\s+(?=(?:born|raised|a|an|in|on)\b)", r"\1 wasn't "),
        _rule(r"\b(I|we)(?:'ve|\s+have)\s+been\s+(?=\w+ing\b)", r"\1 haven't been "),
        _rule(r"\b(I|we)('ve|\s+have)\s+always\s+(?=\w)", r"\1\2 never "),
        _rule(
            r"\b(I|we)\s+can\s+(?=(?:play|speak|cook|sing|dance|swim|drive|read|bake|draw|run|ride|ski)\b)",
            r"\1 can't ",
        ),
        _rule(
            r"\b(my\s+(?!name\b)(?:[\w'-]+\s+){1,3}?)(is|are|was|were)\s+(?!(?:not|so|also|always|never|doing)\b)",
            r"\1\2n't ",
        ),
    ],
    "affirmed": [
        _rule(rf"\b(I|we){_ADVERB}{_NOT}\s+(?:really\s+)?(?=(?:have|{_VERBS})\b)", r"\1\2 "),
        _rule(
            r"\b(I'm|I\s+am|we're|we\s+are)\s+not\s+(?:really\s+)?(?!(?:sure|certain|much|too|familiar|just|only)\b)",
            r"\1 ",
        ),
        _rule(
            r"\b(I|we)\s+can(?:'t|not)\s+(?!(?:stand|wait|help|imagine|believe|even|say|decide|remember)\b)", r"\1 can "
        ),
        _rule(r"\b(I|we)('ve|\s+have)\s+never\s+(?!(?:heard|thought|really)\b)(?=\w)", r"\1\2 "),
        _rule(rf"\b(I|we)\s+never\s+(?=(?:{_VERBS})\b)", r"\1 always "),
        _rule(
            rf"\b(I|we)\s+(?:didn't|did\s+not)\s+({'|'.join(_PRESENT)})\b",
            lambda match: f"{match[1]} {_PRESENT[match[2].lower()]}",
        ),
        _rule(r"\b(I)\s+wasn't\s+(?=(?:born|raised|a|an|in|on)\b)", r"\1 was "),
        _rule(r"\b(my\s+(?:[\w'-]+\s+){1,3}?)(is|are|was|were)(?:n't|\s+not)\s+", r"\1\2 "),
    ],
}
