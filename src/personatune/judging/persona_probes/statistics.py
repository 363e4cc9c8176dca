"""What the benchmark consists of, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from personatune.judging.persona_probes.format import ProbePersona
from personatune.judging.persona_probes.validation import denies_something, states_number


def statistics(personas: Sequence[ProbePersona]) -> dict[str, str]:
    """Return the benchmark's figures by name, ready to print."""
    if not personas:
        return {"personas": "0"}
    traits = [trait for persona in personas for trait in persona.traits]
    negative = sum(any(map(denies_something, persona.traits)) for persona in personas)
    numbers = sum(any(map(states_number, persona.traits)) for persona in personas)
    return {
        "personas": str(len(personas)),
        "traits": f"{len(traits)} ({len(traits) / len(personas):.2f} a persona)",
        "questions": str(sum(len(trait.questions) for trait in traits)),
        "kinds": _counts(Counter(persona.kind for persona in personas)),
        "splits": _counts(Counter(persona.split for persona in personas)),
        "topics": _counts(Counter(trait.topic for trait in traits)),
        "keywords": f"{sum(len(trait.keywords) for trait in traits) / len(traits):.2f} a trait",
        "contradicting words": f"{sum(len(trait.contradicting) for trait in traits) / len(traits):.2f} a trait",
        "negative traits": f"{sum(map(denies_something, traits))}, in {negative / len(personas):.0%} of the personas",
        "numbers": f"{sum(map(states_number, traits))}, in {numbers / len(personas):.0%} of the personas",
    }


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
