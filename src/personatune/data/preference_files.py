"""Files of preference pairs, one JSON object a line: those of a run, and people's votes in the same form.

A row is ``{"context": {"persona": {"traits": […]}, "history": [["partner", "…"]]}, "chosen": "…", "rejected": "…",
"kind": "…", "origin": "…"}``. ``kind`` says why the rejected reply is worse ("vote" where people said so, "given" where
it is left out), ``origin`` where both replies come from (file and row where it is left out).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personatune.data.mirrors import MIRROR
from personatune.data.negatives import of_like_length
from personatune.dialogue import PreferencePair
from personatune.errors import UserError
from personatune.plain_json import parse_json
from personatune.words import words

_TEXTS = ("chosen", "rejected", "kind", "origin")  # the last two may be left out
_FORM = (
    '{"context": {"persona": {"traits": […]}, "history": [["partner", "…"]]}, "chosen", "rejected", "kind", "origin"}'
)


def read_preference_file(file: Path) -> list[PreferencePair]:
    """Read pairs, each row checked.

    Raises:
        UserError: no such file, no row in it, or a row that is no pair (names the row, what it has and what it needs).
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # a text may hold other line ends that Unicode knows
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: can't be read ({error}); expected preference pairs, one JSON object a line"
        ) from error
    pairs = [_read_row(line, f"{file}, row {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not pairs:
        raise UserError(f"{file}: no pair in it; expected one JSON object a line: {_FORM}")
    return pairs


def describe_pairs(pairs: Sequence[PreferencePair], tolerance: float = 0.2) -> dict[str, dict[str, Any]]:
    """Return by kind, and for all of them, what a reward model could learn from form alone.

    Returns:
        Kind ("all" last) to ``pairs``, ``share`` of all, ``mirrors`` (pairs marked as mirrored ones), ``personas``
        (distinct), ``repeated`` (pairs whose context and two replies stood before), ``words_chosen`` and
        ``words_rejected`` (means), ``difference`` (mean words of rejected minus chosen), ``distance`` (mean without
        sign), ``longer`` and ``shorter`` (shares of pairs whose rejected reply is that) and ``matched`` (share within
        ``tolerance`` of the chosen reply's words, or three).
    """
    groups: dict[str, list[PreferencePair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.kind].append(pair)
    ordered = dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))
    return {kind: _describe(group, len(pairs), tolerance) for kind, group in {**ordered, "all": list(pairs)}.items()}


def _describe(pairs: Sequence[PreferencePair], total: int, tolerance: float) -> dict[str, Any]:
    chosen = [len(words(pair.chosen)) for pair in pairs]
    rejected = [len(words(pair.rejected)) for pair in pairs]
    differences = [worse - better for better, worse in zip(chosen, rejected, strict=True)]
    seen = Counter((pair.context, frozenset((pair.chosen, pair.rejected))) for pair in pairs)
    count = len(pairs)
    return {
        "pairs": count,
        "share": count / total,
        "mirrors": sum(pair.origin.startswith(MIRROR) for pair in pairs),
        "personas": len({frozenset(pair.context.persona.traits) for pair in pairs}),
        "repeated": count - len(seen),
        "words_chosen": sum(chosen) / count,
        "words_rejected": sum(rejected) / count,
        "difference": sum(differences) / count,
        "distance": sum(map(abs, differences)) / count,
        "longer": sum(difference > 0 for difference in differences) / count,
        "shorter": sum(difference < 0 for difference in differences) / count,
        "matched": sum(of_like_length(*lengths, tolerance) for lengths in zip(rejected, chosen, strict=True)) / count,
    }


def _read_row(line: str, place: str) -> PreferencePair:
    try:
        row = parse_json(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not valid JSON ({error}); expected {_FORM}") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: found {type(row).__name__}, expected {_FORM}")
    row = {"kind": "given", "origin": place, **row}
    for key in _TEXTS:
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise UserError(f"{place}: {key} is {row.get(key)!r}, expected text; a pair is {_FORM}")
    if row["chosen"] == row["rejected"]:
        raise UserError(f"{place}: chosen and rejected are the same reply ({row['chosen'][:40]!r}); leave the row out")
    problem = _context_problem(row.get("context"))
    if problem:
        raise UserError(f"{place}: {problem}; a pair is {_FORM}")
    return PreferencePair.from_json(row)


def _context_problem(context: Any) -> str:
    """Return what is wrong with a row's context, or an empty text."""
    if not isinstance(context, Mapping):
        return f"context is {context!r}, expected an object"
    history = context.get("history")
    if problem := _persona_problem(context.get("persona")):
        return problem
    if not isinstance(history, list) or not history:
        return f"context.history is {history!r}, expected turns"
    wrong = next((turn for turn in history if not _is_turn(turn)), None)
    if wrong is not None:
        return f'context.history holds {wrong!r}, expected ["partner", "…"] or ["self", "…"]'
    if history[-1][0] != "partner":
        return "the last turn of context.history is the speaker's own, expected the partner's"
    return ""


def _persona_problem(persona: Any) -> str:
    traits, name = (persona.get("traits"), persona.get("name")) if isinstance(persona, Mapping) else (None, None)
    if not isinstance(traits, list) or not traits or not all(isinstance(trait, str) for trait in traits):
        return f"context.persona.traits is {traits!r}, expected a list of sentences"
    if name is not None and not isinstance(name, str):
        return f"context.persona.name is {name!r}, expected text or null"
    return ""


def _is_turn(turn: Any) -> bool:
    texts = isinstance(turn, list) and len(turn) == 2 and all(isinstance(part, str) for part in turn)
    return texts and turn[0] in ("self", "partner")
