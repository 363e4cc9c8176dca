"""Preference pairs for the reward model, and prompts for PPO.

The better reply is human and draws on the persona (or is the model's own best sample); the worse one is wrong in one
known way. Pairs are balanced over the kinds, matched in length and form, and keep where both replies come from. Where
there is a context in which the worse reply is the right one, the pair is followed by its mirror (`data.mirrors`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from personatune.copying import copies_trait
from personatune.data.contradictions import EDIT_KINDS, agrees_in_polarity, contradict
from personatune.data.episodes import interleaved, probe_episodes
from personatune.data.generic_replies import generic_reply
from personatune.data.mirrors import MIRROR, counterfactual, exchanged
from personatune.data.negatives import (
    NegativePool,
    Reply,
    ends_asking,
    in_style_of,
    of_like_length,
    read_replies,
    telling_stems,
)
from personatune.dialogue import Context, Episode, Perspective, PreferencePair, ProbeScript
from personatune.errors import UserError, did_you_mean
from personatune.settings import PreferencesConfig
from personatune.words import keyword_stems, words

KINDS = ("persona_swap", "contradiction", "misplaced", "conflict", "generic", "off_topic", "model_sample")
Sample = Callable[[Sequence[Context], int], list[list[str]]]
"""The model's own replies: for every context, ``n`` of them."""


@dataclass(frozen=True)
class PreferenceReport:
    """The pairs, and what could not be had.

    Attributes:
        wanted: pairs asked for by kind; ``counts`` those found.
        unfilled: why a kind has fewer pairs than wanted.
        length_difference: mean words of rejected minus chosen, by kind.
        edits: contradictions by kind of edit.
        mirrors: pairs whose two replies also stand the other way round in another context, by kind.
    """

    pairs: list[PreferencePair]
    wanted: dict[str, int]
    counts: dict[str, int]
    unfilled: dict[str, str]
    length_difference: dict[str, float]
    edits: dict[str, int]
    mirrors: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the pairs, for the run's manifest."""
        return {
            "wanted": self.wanted,
            "counts": self.counts,
            "unfilled": self.unfilled,
            "length_difference": self.length_difference,
            "edits": self.edits,
            "mirrors": self.mirrors,
        }


class PreferenceGenerator:
    """Makes preference pairs, test pairs and PPO prompts from perspectives.

    Args:
        perspectives: dialogues as their speakers live them; training ones for training pairs, held-out ones for tests.
        sample: the model's own ``n`` replies per context; None leaves the kind "model_sample" out (with a reason).
        written: hand-written pairs of the kinds "contradiction" and "misplaced"; they make up to ``written_share`` of
            theirs.
    """

    def __init__(
        self,
        perspectives: Sequence[Perspective],
        config: PreferencesConfig,
        seed: int = 0,
        sample: Sample | None = None,
        written: Sequence[PreferencePair] = (),
    ) -> None:
        for kind in config.kinds:
            if kind not in KINDS:
                raise UserError(f"preferences.kinds: unknown kind {kind!r}{did_you_mean(kind, KINDS)}")
        if not any(config.kinds.values()):
            raise UserError("preferences.kinds: every share is 0; give at least one kind a share")
        self._config = config
        self._seed = seed
        self._sample = sample
        self._written = written
        self._replies = read_replies(perspectives, config.max_history_turns, random.Random(f"{seed}/replies"))
        self._golds = [reply for reply in self._replies if reply.drawn]

    def generate(self, count: int | None = None) -> PreferenceReport:
        """Return ``count`` pairs (default: ``preferences.pairs``), divided over the kinds by their shares."""
        return self._generate(count or self._config.pairs, "train")

    def test_set(self, count: int | None = None) -> PreferenceReport:
        """Return ``count`` pairs (default: ``preferences.test_pairs``); meant for a generator on held-out personas."""
        return self._generate(count or self._config.test_pairs, "test")

    def prompts(self, count: int | None = None, probes: Sequence[Context] = ()) -> list[Context]:
        """Return contexts for PPO, each ending with the partner's line and each once.

        They come from turns where people drew on their persona, one persona after the other; ``probes`` (direct
        questions about traits) take up to every second place.
        """
        wanted = count or self._config.ppo_prompts
        direct = list(probes)
        random.Random(f"{self._seed}/prompts").shuffle(direct)
        by_persona: dict[tuple[str, ...], list[Context]] = {}
        for gold in self._golds:
            by_persona.setdefault(gold.context.persona.traits, []).append(gold.context)
        return interleaved(list(by_persona.values()), direct, wanted)

    def episodes(self, turns: int, scripts: Sequence[ProbeScript] = (), count: int | None = None) -> list[Episode]:
        """Return conversations of up to ``turns`` replies for PPO, each once: real dialogues and probe dialogues.

        In a real one the partner goes on as in the dialogue; turns with most of it left come first. A probe dialogue
        is cut into conversations of ``turns`` lines, those without a question left out. Dealt as in `prompts`.
        """
        wanted = count or self._config.ppo_prompts
        direct = [episode for script in scripts for episode in probe_episodes(script, turns)]
        random.Random(f"{self._seed}/prompts").shuffle(direct)
        by_persona: dict[tuple[str, ...], list[Episode]] = {}
        for gold in sorted(self._golds, key=lambda gold: -min(len(gold.later), turns - 1)):
            episode = Episode(gold.context, gold.later[: turns - 1])
            by_persona.setdefault(gold.context.persona.traits, []).append(episode)
        return interleaved(list(by_persona.values()), direct, wanted)

    def _generate(self, count: int, purpose: str) -> PreferenceReport:
        rng = random.Random(f"{self._seed}/{purpose}")
        wanted, unfilled = self._quotas(count)
        golds = list(self._golds)
        rng.shuffle(golds)
        pool = NegativePool(self._replies, rng, self._config.length_tolerance)
        pairs: list[PreferencePair] = []
        edits: Counter[str] = Counter()
        spent: set[str] = set()
        makers: dict[str, Callable[[Sequence[Reply], int], Iterator[tuple[Reply, PreferencePair]]]] = {
            "contradiction": lambda golds, quota: self._contradictions(golds, quota, rng, edits, pool),
            "misplaced": lambda golds, quota: self._human_negatives(golds, "misplaced", pool.misplaced, pool),
            "conflict": lambda golds, quota: self._human_negatives(golds, "conflict", pool.conflict, pool),
            "persona_swap": lambda golds, quota: self._human_negatives(golds, "persona_swap", pool.persona_swap, pool),
            "model_sample": lambda golds, quota: self._model_samples(golds, quota, pool),
            "generic": lambda golds, quota: _generics(golds, rng, pool),
            "off_topic": lambda golds, quota: self._human_negatives(golds, "off_topic", pool.off_topic, pool),
        }
        for kind, make in makers.items():  # the kinds hardest to fill choose their turns first
            quota = wanted.get(kind, 0)
            # A turn serves one kind while there are enough of them: the same gold over and over is learnt by heart.
            order = [gold for gold in golds if gold.origin not in spent] + [one for one in golds if one.origin in spent]
            by_hand = self._by_hand(kind, quota, rng)
            pairs += by_hand
            quota -= len(by_hand)
            made = 0
            for gold, pair in make(order, quota) if quota else ():
                pairs.append(pair)
                pool.note(kind, pair.chosen, pair.rejected)
                spent.add(gold.origin)
                made += 1
                if made == quota:
                    break
            if made < quota:
                unfilled[kind] = f"{made} of {quota}: {len(golds)} persona turns gave no more that fit"
        rng.shuffle(pairs)
        found = Counter(pair.kind for pair in pairs)
        return PreferenceReport(
            pairs,
            wanted,
            {kind: found[kind] for kind in wanted},
            unfilled,
            {kind: _length_difference([pair for pair in pairs if pair.kind == kind]) for kind in wanted if found[kind]},
            dict(edits),
            dict(Counter(pair.kind for pair in pairs if pair.origin.startswith(MIRROR))),
        )

    def _by_hand(self, kind: str, quota: int, rng: random.Random) -> list[PreferencePair]:
        written = [pair for pair in self._written if pair.kind == kind]
        wanted = min(len(written), round(quota * self._config.written_share))
        heads = [place for place, pair in enumerate(written) if not pair.origin.startswith(MIRROR)]
        found: list[PreferencePair] = []
        for head in rng.sample(heads, min(wanted, len(heads))):
            mirror = written[head + 1 : head + 2] if self._config.mirrors else []
            found += [written[head], *(pair for pair in mirror if pair.origin.startswith(MIRROR))]
        return found[:wanted]

    def _quotas(self, count: int) -> tuple[dict[str, int], dict[str, str]]:
        shares = {kind: share for kind, share in self._config.kinds.items() if share > 0}
        unfilled: dict[str, str] = {}
        if "model_sample" in shares and self._sample is None:
            del shares["model_sample"]
            unfilled["model_sample"] = "no model to sample from; its share went to the other kinds"
        total, quotas, given, sum_of_shares = sum(shares.values()), {}, 0, 0.0
        for kind, share in shares.items():  # rounded so that the quotas add up to the count
            sum_of_shares += share
            quotas[kind] = round(count * sum_of_shares / total) - given
            given += quotas[kind]
        return quotas, unfilled

    def _model_samples(
        self, golds: Sequence[Reply], quota: int, pool: NegativePool
    ) -> Iterator[tuple[Reply, PreferencePair]]:
        assert self._sample is not None
        # At most twice the quota is sampled: generation is what a small machine has least of.
        budget = golds[: 2 * quota]
        for start in range(0, len(budget), max(quota, 1)):
            batch = budget[start : start + max(quota, 1)]
            sampled = self._sample([gold.context for gold in batch], self._config.samples_per_context)
            for gold, texts in zip(batch, sampled, strict=True):
                pair = _sampled_pair(gold, texts, pool)
                if pair is not None:
                    yield gold, pair

    def _contradictions(
        self, golds: Sequence[Reply], quota: int, rng: random.Random, edits: Counter[str], pool: NegativePool
    ) -> Iterator[tuple[Reply, PreferencePair]]:
        # No kind of edit makes more than its share, so that "not" in a reply doesn't mean that it is the worse one;
        # only when the turns are through do the frequent kinds fill up what the rare ones couldn't.
        # Turns with a mirror come first: otherwise the edit alone would tell the worse reply three times in four.
        left, share = list(golds), quota / len(EDIT_KINDS)
        for limit, mirrored in ((share, self._config.mirrors), (share, False), (quota, False)):
            again = []
            for gold in left:
                rare_first = sorted(EDIT_KINDS, key=lambda kind: edits[kind])
                kinds = [kind for kind in rare_first if edits[kind] < limit]
                edit = next(
                    (
                        found
                        for kind in kinds
                        if (found := contradict(gold.text, gold.context.persona.traits, rng, (kind,)))
                    ),
                    None,
                )
                other = counterfactual(gold, edit) if edit and self._config.mirrors else None
                if edit is None or not pool.alike(len(words(edit.text)), gold) or (mirrored and other is None):
                    again.append(gold)
                    continue
                edits[edit.kind] += 1
                origin = f"gold, edited ({edit.kind}: {edit.change}) | {gold.origin}"
                yield gold, PreferencePair(gold.context, gold.text, edit.text, "contradiction", origin)
                if other is not None:
                    edits[edit.kind] += 1
                    yield gold, PreferencePair(other, edit.text, gold.text, "contradiction", MIRROR + origin)
            left = again

    def _human_negatives(
        self, golds: Sequence[Reply], kind: str, find: Callable[[Reply], Reply | None], pool: NegativePool
    ) -> Iterator[tuple[Reply, PreferencePair]]:
        for gold in golds:
            other = find(gold)
            if other is None:
                continue
            yield gold, _human_pair(gold, other, kind)
            if self._config.mirrors and exchanged(gold, other, kind) and pool.alike(gold.length, other):
                yield other, replace(_human_pair(other, gold, kind), origin=f"{MIRROR}{other.origin} | {gold.origin}")


def _human_pair(gold: Reply, other: Reply, kind: str) -> PreferencePair:
    rejected = in_style_of(other.text, gold.text, gold.line)
    return PreferencePair(gold.context, gold.text, rejected, kind, f"gold | {gold.origin} | {other.origin}")


def _generics(golds: Sequence[Reply], rng: random.Random, pool: NegativePool) -> Iterator[tuple[Reply, PreferencePair]]:
    for gold in golds:
        wanted = pool.wanted_length("generic", gold.length)
        text = in_style_of(
            generic_reply(wanted, rng, asks=ends_asking(gold.text), exclaims="!" in gold.text), gold.text, gold.line
        )
        if pool.alike(len(words(text)), gold):
            yield gold, PreferencePair(gold.context, gold.text, text, "generic", f"gold | {gold.origin} | generic")


def _sampled_pair(gold: Reply, samples: Sequence[str], pool: NegativePool) -> PreferencePair | None:
    """Pair the reply that says most of the trait with the model's sample that says least; None when they tie."""
    texts = [" ".join(text.split()) for text in samples]
    texts = [text for text in texts if words(text) and text.lower() != gold.text.lower()]
    if not texts:
        return None
    worst = min(texts, key=lambda text: (_expressed(text, gold), abs(len(words(text)) - gold.length)))
    own = [text for text in texts if not copies_trait(text, gold.context.persona)]
    best = max(own, key=lambda text: _expressed(text, gold), default="")
    # Sample against sample first: gold against sample can also be told by who wrote it.
    chosen, source = (best, "sample") if _expressed(best, gold) > _expressed(worst, gold) else (gold.text, "gold")
    if source == "sample" and not of_like_length(len(words(worst)), len(words(chosen)), pool.tolerance):
        chosen, source = gold.text, "gold"
    if _expressed(chosen, gold) <= _expressed(worst, gold):
        return None
    wanted = pool.wanted_length("model_sample", len(words(chosen)))
    alike = [text for text in texts if _expressed(text, gold) == _expressed(worst, gold) and text != chosen]
    worst = min(alike, key=lambda text: abs(len(words(text)) - wanted))
    if not of_like_length(len(words(worst)), len(words(chosen)), pool.tolerance):
        return None
    if source == "gold":
        worst = in_style_of(worst, chosen, gold.line)
    return PreferencePair(gold.context, chosen, worst, "model_sample", f"{source} | {gold.origin} | sample")


def _expressed(text: str, gold: Reply) -> int:
    """Count the keyword stems of the drawn traits in a text; a trait it denies counts nothing."""
    said = set(keyword_stems(text))
    return sum(len(telling_stems(trait) & said) for trait in gold.drawn if agrees_in_polarity(text, trait))


def _length_difference(pairs: Sequence[PreferencePair]) -> float:
    return sum(len(words(pair.rejected)) - len(words(pair.chosen)) for pair in pairs) / len(pairs)
