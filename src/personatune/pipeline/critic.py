"""``judge train``: gather the pairs, train the critic, calibrate it, and report how far it can be trusted."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.data.chat_asides import chatter, lengthened
from personatune.data.pair_files import hand_written_pairs, hand_written_scenes, read_pairs
from personatune.data.persona_pairs import Label, SentencePair, make_persona_pairs
from personatune.data.sources import DatasetLoader
from personatune.data.triples import plain_sentence
from personatune.dialogue import Perspective
from personatune.errors import UserError
from personatune.evaluation.judge_accuracy import JudgeAccuracy, judge_accuracy
from personatune.judging.assertions import asserted
from personatune.judging.critic import Critic
from personatune.judging.critic_files import save_critic
from personatune.judging.entailment import CONTRADICTION, EntailmentJudge
from personatune.judging.persona_probes import load_persona_probes
from personatune.judging.persona_probes.format import Split
from personatune.progress import Progress
from personatune.storage import write_json, write_text
from personatune.training.critic import CriticSettings, CriticTrainer, fit_temperature, label_ids

CALIBRATION_SHARE = 0.05
"""Of the NLI pairs: kept from training to fit the temperature on, together with held-out persona pairs."""

ASIDE_SHARE = 0.2
"""Of the persona pairs: put into a longer chat line (`lengthened`)."""

FALSE_ALARMS = 0.01
"""A line of two sentences meets five traits ten times: at 1 % each, one consistent line in ten is called wrong."""

_HELD_OUT_PAIRS = 3000
_ERRORS_SHOWN = 100
_FEWEST_WORDS = 3  # of an answer that can be judged without its question


@dataclass(frozen=True)
class CriticData:
    """Pairs by use: to learn from, to set the temperature on, and to report on by name.

    What people and we ourselves wrote, sentence by sentence, is learnt in every epoch (``train``); what rules made of
    triples and of probes has less to tell and is learnt once.
    """

    train: list[SentencePair]
    once: list[SentencePair]
    calibration: list[SentencePair]
    tests: dict[str, list[SentencePair]]
    counts: dict[str, int]


def gather(
    nli: Path, nli_test: Path | None, sources: Sequence[str], generated: int, seed: int, probes_kept: int | None = None
) -> CriticData:
    """Read and make all pairs.

    Of the probe pairs ``probes_kept`` are taken, by default all. Held-out persona pairs are made of the sources' own
    validation dialogues; sentences that training has seen are left out of them.

    Raises:
        UserError: a file or source can't be read, or gives no persona.
    """
    entailment = read_pairs(nli, "general entailment").pairs
    random.Random(f"{seed}/nli").shuffle(entailment)
    held_out = round(CALIBRATION_SHARE * len(entailment))
    train_side, validation_side = _perspectives(sources)
    made = make_persona_pairs(train_side, generated, seed)
    written = hand_written_pairs()
    probes = probe_pairs("train")
    if probes_kept is not None:
        probes = random.Random(f"{seed}/probes").sample(probes, min(probes_kept, len(probes)))
    scenes = hand_written_scenes()
    general = [*entailment[held_out:], *scenes]
    asides = chatter(train_side, seed)
    train = [*general, *reversed_contradictions(general, seed), *lengthened(written, asides, ASIDE_SHARE, seed)]
    once = [*lengthened(made, asides, ASIDE_SHARE, seed), *probes]
    seen = {plain_sentence(text) for pair in (*train, *once) for text in (pair.premise, pair.hypothesis)}
    unseen = [
        pair
        for pair in (make_persona_pairs(validation_side, _HELD_OUT_PAIRS * 2, seed + 1) if validation_side else [])
        if plain_sentence(pair.premise) not in seen or plain_sentence(pair.hypothesis) not in seen
    ][:_HELD_OUT_PAIRS]
    half = len(unseen) // 2
    tests = {"generated persona pairs": unseen[half:], "probe replies": probe_pairs("test")}
    if nli_test is not None:
        tests["general entailment"] = read_pairs(nli_test, "general entailment").pairs
    counts = {
        "general entailment": len(entailment) - held_out,
        "hand-written scenes": len(scenes),
        "generated persona pairs": len(made),
        "hand-written persona pairs": len(written),
        "probe replies": len(probes),
    }
    calibration = [*entailment[:held_out], *unseen[:half]]
    return CriticData(train, once, calibration, {name: pairs for name, pairs in tests.items() if pairs}, counts)


def reversed_contradictions(pairs: Sequence[SentencePair], seed: int) -> list[SentencePair]:
    """Return half of the contradictions with their sides changed: of one scene, both can't be true, whoever says it."""
    rng = random.Random(f"{seed}/reversed")
    return [
        SentencePair(pair.hypothesis, pair.premise, pair.label, pair.kind)
        for pair in pairs
        if pair.label == "contradiction" and rng.random() < 0.5
    ]


def train_critic(data: CriticData, settings: CriticSettings, out: Path, progress: Progress) -> dict[str, Any]:
    """Train, calibrate, save the critic to ``out``, and write ``report.json`` and ``errors.tsv`` beside it.

    Raises:
        KeyboardInterrupt: Ctrl-C; the same call goes on there.
    """
    trainer = CriticTrainer(settings, data.train, out, progress, data.once)
    weights, spreads = trainer.train().trained_state(), trainer.spreads
    card: dict[str, Any] = {
        "base": settings.base,
        "alone": settings.alone,
        "temperature": 1.0,
        "settings": {**settings.to_json(), "start": _fingerprint(settings.start)},
        "trained_on": data.counts,
    }
    save_critic(out, weights, card, spreads)
    card["temperature"] = _fitted_temperature(Critic(out), data.calibration)
    save_critic(out, weights, card, spreads)
    critic = Critic(out)
    results = {name: judge_accuracy(critic, pairs) for name, pairs in data.tests.items()}
    measured = {name: result.to_json() for name, result in results.items()}
    summary = {name: {key: row[key] for key in ("accuracy", "n")} for name, row in measured.items()}
    card["contradiction_from"] = contradiction_threshold(critic)
    save_critic(out, weights, {**card, "measured": summary}, spreads)
    report = {"critic": Critic(out).card, "tests": measured, "pairs_per_second": pairs_per_second(out, data)}
    write_json(out / "report.json", report)
    write_text(out / "errors.tsv", _error_lines(results))
    trainer.checkpoints.clear()
    return report


def contradiction_threshold(judge: EntailmentJudge) -> float:
    """Return the probability from which judged measures call a contradiction: rarely for what is neutral.

    The smallest of 0.50, 0.51, … 0.99 at which at most `FALSE_ALARMS` of the neutral pairs of the PersonaProbes
    validation personas (what a character says of one trait, against its other traits) are called contradictions.
    """
    neutral = [
        (sentence, other.trait)
        for persona in load_persona_probes("validation")
        for trait in persona.traits
        for sentence in asserted(trait.consistent)
        for other in persona.traits
        if other is not trait
    ]
    found = judge.probabilities(neutral)[:, CONTRADICTION]
    grid = [step / 100 for step in range(50, 100)]
    return next((level for level in grid if float((found >= level).mean()) <= FALSE_ALARMS), grid[-1])


def _fitted_temperature(critic: Critic, pairs: Sequence[SentencePair]) -> float:
    return fit_temperature(critic.logits([(pair.premise, pair.hypothesis) for pair in pairs]), label_ids(pairs))


def _fingerprint(folder: str) -> str:
    """Return which critic a training started from, not where it lay."""
    return str(Critic(Path(folder)).card["fingerprint"]) if folder else ""


def pairs_per_second(folder: Path, data: CriticData) -> float:
    """Return how many pairs a freshly loaded critic judges in a second, loading left out."""
    pairs = [(pair.premise, pair.hypothesis) for pair in next(iter(data.tests.values()))]
    critic = Critic(folder)
    started = time.perf_counter()
    critic.probabilities(pairs)
    return len(set(pairs)) / (time.perf_counter() - started)


def probe_pairs(split: Split) -> list[SentencePair]:
    """Return pairs of the hand-written PersonaProbes of one split, each in both directions.

    A trait with its own replies, and with everything else of its persona, which is neutral: a judge that asks every
    line against every trait meets ten neutral pairs for each other one.
    """
    pairs = []
    for persona in load_persona_probes(split):
        for trait in persona.traits:
            pairs += _both_ways(trait.trait, trait.consistent, "entailment", "probe reply")
            for text in (trait.contradiction, *trait.contradicting_answers):
                if len(text.split()) >= _FEWEST_WORDS:
                    pairs += _both_ways(trait.trait, text, "contradiction", "probe contradiction")
            for other in persona.traits:
                if other is not trait:
                    pairs += _both_ways(trait.trait, other.consistent, "neutral", "reply to another probe")
                    pairs.append(SentencePair(trait.trait, other.trait, "neutral", "two traits of one persona"))
    return pairs


def _both_ways(first: str, second: str, label: Label, kind: str) -> list[SentencePair]:
    return [SentencePair(first, second, label, kind), SentencePair(second, first, label, kind)]


def _perspectives(sources: Sequence[str]) -> tuple[list[Perspective], list[Perspective]]:
    train: list[Perspective] = []
    validation: list[Perspective] = []
    for source in sources:
        for dialogue in DatasetLoader(source).load().dialogues:
            side = train if dialogue.split in (None, "train") else validation
            if dialogue.split != "test":
                side += dialogue.perspectives()
    if not train:
        raise UserError(
            f"{', '.join(sources)}: no training dialogue with a persona; name a source of persona dialogues"
        )
    return train, validation


def _error_lines(results: dict[str, JudgeAccuracy]) -> str:
    lines = ["test\tkind\tpremise\thypothesis\tlabel\tjudged\tprobability"]
    for name, result in results.items():
        lines += [
            "\t".join((name, pair.kind, pair.premise, pair.hypothesis, pair.label, judged, f"{probability:.3f}"))
            for pair, judged, probability in result.errors()[:_ERRORS_SHOWN]
        ]
    return "\n".join(lines) + "\n"
