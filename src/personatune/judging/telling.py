"""Which words show that a trait was meant, and which other words tell of the same trait.

Everyday words stand in too many sentences to prove anything.
"""

from __future__ import annotations

from personatune.words import FUNCTION_WORDS, stem

WEAK_STEMS = frozenset(
    map(
        stem,
        """year years old day days time times work working works job live lived living play playing year week month
        today later sometimes named called big small large favorite favourite feel feeling whole long lots couple
        always never often every regularly currently enjoy eat eating drink person someone something place special
        spend spare free full part thing home food pair type
        kind own wear way bit family age aged ever far mostly hobby hobbies entire life""".split(),
    )
)
"""Content words that don't single out a trait."""


SAME_THING: dict[str, tuple[str, ...]] = {
    stem(word): tuple(map(stem, others.split()))
    for word, others in {
        "vegetarian": "veggie meat vegetables plants",
        "vegan": "plant plants vegetables",
        "married": "husband wife marriage spouse",
        "husband": "married",
        "wife": "married",
        "pregnant": "baby expecting pregnancy",
        "baker": "bake baking",
        "dentist": "dental teeth",
        "nurse": "nursing",
        "artist": "art",
        "musician": "music",
        "drummer": "drums drum",
        "guitarist": "guitar",
        "farmer": "farm farming",
        "student": "study studying",
        "puppies": "dog",
        "puppy": "dog",
        "kitten": "cat",
        "kids": "children child son daughter",
        "children": "kids kid son daughter",
        "boys": "sons son",
        "girls": "daughters daughter",
        "sons": "boys kids children",
        "daughters": "girls kids children",
        "siblings": "brother sister brothers sisters",
        "brothers": "brother",
        "sisters": "sister",
        "mother": "mom kids children",
        "father": "dad kids children",
        "parents": "mom dad mother father",
        "swim": "swimming pool",
        "grandchildren": "grandchild grandkids grandson granddaughter",
        "grandkids": "grandchild grandchildren grandson granddaughter",
        "christian": "christ jesus church god",
        "catholic": "church god",
        "jog": "run running",
        "jogging": "run",
        "running": "run runner jog",
        "hiking": "hike hikes trail",
        "fishing": "fish",
        "gay": "homosexual",
        "depression": "depressed",
        "depressed": "depression",
        "anxiety": "anxious",
        "blonde": "blond",
    }.items()
}
"""Stems to stems of words that tell of the same trait, beside the synonyms of the lexicon."""


def is_telling(word: str) -> bool:
    """Say whether one lower-case word, standing in an answer, shows which trait was meant; numbers do."""
    return word.isdigit() or (len(word) >= 2 and word not in FUNCTION_WORDS and stem(word) not in WEAK_STEMS)
