"""Statistics and plots of persona dialogues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from personatune.data.grounding import persona_turns
from personatune.dialogue import Dialogue, Perspective, Turn
from personatune.storage import replacing
from personatune.words import is_content_word, stem, words


def describe(data: Iterable[Dialogue | Perspective]) -> dict[str, Any]:
    """Count what is in dialogues or perspectives, in one pass.

    Returns:
        Plain numbers (``dialogues``, ``perspectives``, ``personas`` distinct, ``sentences`` distinct persona sentences,
        ``turns``, ``words``, ``vocabulary``, ``own_turns``, ``persona_turns``, ``persona_turn_share`` of the own turns,
        means ``traits_per_persona``, ``turns_per_dialogue``, ``words_per_turn``) and the three histograms that `plot`
        draws, value -> count: ``traits``, ``turn_counts``, ``turn_lengths`` (words).
    """
    traits: Counter[int] = Counter()
    turn_counts: Counter[int] = Counter()
    turn_lengths: Counter[int] = Counter()
    vocabulary: set[str] = set()
    personas: set[int] = set()  # hashes: of millions the texts would not fit
    sentences: set[int] = set()
    dialogues = own = drawing = views = 0
    for item in data:
        dialogues += 1
        turn_counts[len(item.turns)] += 1
        for spoken in _words(item.turns):
            turn_lengths[len(spoken)] += 1
            vocabulary.update(spoken)
        for view in [item] if isinstance(item, Perspective) else item.perspectives():
            views += 1
            traits[len(view.persona.traits)] += 1
            personas.add(hash(frozenset(view.persona.traits)))
            sentences.update(map(hash, view.persona.traits))
            own += sum(turn.speaker == "self" for turn in view.turns)
            drawing += sum(persona_turns(view))
    return {
        "dialogues": dialogues,
        "perspectives": views,
        "personas": len(personas),
        "sentences": len(sentences),
        "turns": turn_lengths.total(),
        "words": _sum(turn_lengths),
        "vocabulary": len(vocabulary),
        "own_turns": own,
        "persona_turns": drawing,
        "persona_turn_share": drawing / own if own else 0.0,
        "traits_per_persona": _mean(traits),
        "turns_per_dialogue": _mean(turn_counts),
        "words_per_turn": _mean(turn_lengths),
        "traits": _histogram(traits),
        "turn_counts": _histogram(turn_counts),
        "turn_lengths": _histogram(turn_lengths),
    }


def grounding_by_reply(views: Iterable[Perspective]) -> dict[int, tuple[int, int]]:
    """Return for the first, second, … own turn of a dialogue: how many draw on the persona, and how many there are."""
    drawing: Counter[int] = Counter()
    turns: Counter[int] = Counter()
    for view in views:
        marks = (mark for turn, mark in zip(view.turns, persona_turns(view), strict=True) if turn.speaker == "self")
        for number, mark in enumerate(marks, start=1):
            turns[number] += 1
            drawing[number] += mark
    return {number: (drawing[number], turns[number]) for number in sorted(turns)}


def trait_words(views: Iterable[Perspective], count: int = 20) -> list[tuple[str, int]]:
    """Return the content words that most different personas have, with their number, most frequent first.

    Forms of one word (dog, dogs) count together, under the most frequent of them.
    """
    personas = {frozenset(view.persona.traits) for view in views}
    holders: Counter[str] = Counter()
    forms: dict[str, Counter[str]] = {}
    for persona in personas:
        found = {word for trait in persona for word in words(trait) if is_content_word(word)}
        holders.update({stem(word) for word in found})
        for word in found:
            forms.setdefault(stem(word), Counter())[word] += 1
    ranked = sorted(holders, key=lambda root: (-holders[root], root))[:count]
    return [(min(forms[root], key=lambda word: (-forms[root][word], word)), holders[root]) for root in ranked]


def plot(statistics: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw the three histograms of `describe` as PNG files into ``directory`` and return their paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    titles = {
        "traits": ("Traits of a persona", "persona sentences", "personas"),
        "turn_lengths": ("Length of a turn", "words", "turns"),
        "turn_counts": ("Turns of a dialogue", "turns", "dialogues"),
    }
    written = []
    for name, (title, unit, counted) in titles.items():
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.add_subplot()
        histogram = {int(value): count for value, count in statistics[name].items()}
        axes.bar(list(histogram), list(histogram.values()), width=0.9)
        axes.set(title=title, xlabel=unit, ylabel=counted)
        target = directory / f"{name}.png"
        with replacing(target) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        written.append(target)
    return written


def _words(turns: Iterable[Turn]) -> Iterable[list[str]]:
    return (words(turn.text) for turn in turns)


def _sum(histogram: Counter[int]) -> int:
    return sum(value * count for value, count in histogram.items())


def _mean(histogram: Counter[int]) -> float:
    return _sum(histogram) / histogram.total() if histogram else 0.0


def _histogram(counted: Counter[int]) -> dict[str, int]:
    return {str(value): counted[value] for value in sorted(counted)}  # JSON has text keys only
