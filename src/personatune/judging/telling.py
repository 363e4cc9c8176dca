"""Which words show that a trait was meant: everyday words stand in too many sentences to prove anything."""

from __future__ import annotations

from personatune.words import FUNCTION_WORDS, stem

WEAK_STEMS = frozenset(
    map(
        stem,
        """year years old day days time times work working works job live lived living play playing year week month
        today later sometimes named called big small large favorite favourite feel feeling whole long lots couple
        always never often every regularly currently enjoy eat eating drink person someone something place special
        spend spare free full part thing home food pair type
        kind own wear way bit family age aged ever far""".split(),
    )
)
"""Content words that don't single out a trait."""


def is_telling(word: str) -> bool:
    """Say whether one lower-case word, standing in an answer, shows which trait was meant; numbers do."""
    return word.isdigit() or (len(word) >= 2 and word not in FUNCTION_WORDS and stem(word) not in WEAK_STEMS)
