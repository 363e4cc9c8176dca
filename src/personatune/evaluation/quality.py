"""Quality of generated text: perplexity both ways, BLEU, ROUGE, F1, Distinct, each with its interval.

BLEU, ROUGE, F1 and Distinct are on the 0 to 100 scale of the literature. Definitions: docs/measures.md.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from personatune.intervals import Array, Estimate, bootstrap, estimate, ratio, resample_counts

NllTokensWords = tuple[float, int, int]
"""Of one dialogue: summed negative log-likelihood in nats, tokens scored, whitespace words scored."""

_BLEU_ORDER = 4
_DISTINCT_SAMPLES = 200  # each resample counts distinct n-grams anew, which costs more than a mean
_PUNCTUATION = re.compile(r"[!\"#$%&()*+,\-./:;<=>?@\[\]\\^`{|}~_']")
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


class QualityEvaluator:
    """Measures replies against references and for themselves."""

    def __init__(self, bootstrap_samples: int = 1000, seed: int = 0) -> None:
        self.bootstrap_samples = bootstrap_samples
        self.seed = seed

    def compute_perplexity(self, nll_tokens_words: Sequence[NllTokensWords]) -> dict[str, Estimate]:
        """Return ``perplexity_token`` and ``perplexity_word``; the items are dialogues.

        exp(total NLL / tokens) compares only within one tokenizer; exp(total NLL / whitespace words) across them.

        Raises:
            ValueError: no dialogues, or nothing scored in them.
        """
        rows = np.asarray(nll_tokens_words, dtype=np.float64).reshape(-1, 3)
        return {
            "perplexity_token": self._exp_ratio(rows[:, [0, 1]]),
            "perplexity_word": self._exp_ratio(rows[:, [0, 2]]),
        }

    def compute_bleu(self, hypotheses: Sequence[str], references: Sequence[str]) -> Estimate:
        """Return corpus BLEU as sacrebleu computes it (13a tokenisation, exponential smoothing), 0 to 100."""
        _check_pairs(hypotheses, references)
        from sacrebleu.metrics import BLEU

        one = BLEU(effective_order=False)
        rows = []
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            score = one.corpus_score([hypothesis], [[reference]])
            rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
        counts = np.asarray(rows, dtype=np.int64)

        def bleu(sums: NDArray[np.int64]) -> float:
            sys_len, ref_len, *grams = (int(value) for value in sums)
            correct, total = grams[:_BLEU_ORDER], grams[_BLEU_ORDER:]
            return float(one.compute_bleu(correct, total, sys_len, ref_len, smooth_method="exp").score)

        drawn = resample_counts(len(rows), self.bootstrap_samples, self.seed) @ counts
        return estimate(bleu(counts.sum(0)), np.asarray([bleu(sums) for sums in drawn]), len(rows))

    def compute_rouge(self, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Estimate]:
        """Return the mean F of ``rouge_1``, ``rouge_2`` and ``rouge_l`` (rouge-score, no stemming), 0 to 100."""
        _check_pairs(hypotheses, references)
        from rouge_score import rouge_scorer

        names = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
        scorer = rouge_scorer.RougeScorer(list(names.values()), use_stemmer=False)
        scores = [scorer.score(ref, hyp) for hyp, ref in zip(hypotheses, references, strict=True)]
        return {
            name: self._estimate([100 * score[theirs].fmeasure for score in scores]) for name, theirs in names.items()
        }

    def compute_f1(self, hypotheses: Sequence[str], references: Sequence[str]) -> Estimate:
        """Return the mean word F1 of the ConvAI2 protocol, 0 to 100."""
        _check_pairs(hypotheses, references)
        return self._estimate([100 * word_f1(*pair) for pair in zip(hypotheses, references, strict=True)])

    def compute_distinct_n(self, replies: Sequence[str], n: int) -> Estimate:
        """Return unique / all word n-grams of the whole corpus, ×100; compare corpora of equal size only.

        A resample repeats replies and so always looks less varied; its mean is moved back onto the value, so that the
        interval shows the spread alone.

        Raises:
            ValueError: no reply is ``n`` words long.
        """
        grams = [_ngrams(tokens(reply), n) for reply in replies]
        number: dict[tuple[str, ...], int] = {}
        ids = [np.asarray([number.setdefault(gram, len(number)) for gram in item], dtype=np.int64) for item in grams]
        if not number:
            raise ValueError(f"Distinct-{n} needs a reply of at least {n} words")
        lengths = np.asarray([len(item) for item in ids])
        value = 100 * len(number) / lengths.sum()
        samples = min(self.bootstrap_samples, _DISTINCT_SAMPLES)
        resampled = []
        for drawn in resample_counts(len(ids), samples, self.seed):
            seen = np.zeros(len(number), dtype=bool)
            seen[np.concatenate([ids[item] for item in np.flatnonzero(drawn)])] = True
            total = int(drawn @ lengths)
            resampled.append(100 * seen.sum() / total if total else value)
        spread = np.asarray(resampled) - np.mean(resampled)
        return estimate(float(value), np.clip(value + spread, 0, 100), len(ids))

    def evaluate_all(
        self,
        hypotheses: Sequence[str],
        references: Sequence[str],
        nll_tokens_words: Sequence[NllTokensWords] | None = None,
    ) -> dict[str, Estimate]:
        """Return every quality figure that the input allows; the items are replies (perplexity: dialogues).

        Raises:
            ValueError: no replies, or not one reference for each.
        """
        figures = {"bleu": self.compute_bleu(hypotheses, references)}
        figures |= self.compute_rouge(hypotheses, references)
        figures["f1"] = self.compute_f1(hypotheses, references)
        longest = max(len(tokens(reply)) for reply in hypotheses)
        for n in (1, 2):
            if longest >= n:
                figures[f"distinct_{n}"] = self.compute_distinct_n(hypotheses, n)
        figures["reply_words"] = self._estimate([float(len(tokens(reply))) for reply in hypotheses])
        if nll_tokens_words is not None:
            figures |= self.compute_perplexity(nll_tokens_words)
        return figures

    def _exp_ratio(self, rows: Array) -> Estimate:
        if rows.shape[0] and not rows[:, 1].all():
            raise ValueError("perplexity needs at least one scored token and word in every dialogue")
        log = bootstrap(rows, self.bootstrap_samples, self.seed, ratio)
        return Estimate(math.exp(log.value), math.exp(log.low), math.exp(log.high), log.n)

    def _estimate(self, values: Sequence[float]) -> Estimate:
        return bootstrap(values, self.bootstrap_samples, self.seed)


def tokens(text: str) -> list[str]:
    """Return the lower-case words and punctuation marks that Distinct and reply length count.

    ConvAI2 text is tokenised already and comes out as its whitespace words; model text gets the same treatment.
    """
    return _TOKEN.findall(text.lower())


def word_f1(hypothesis: str, reference: str) -> float:
    """Return the word F1 of one reply, 0 to 1 (ParlAI: lower case, punctuation to spaces, articles removed)."""
    said, wanted = Counter(_f1_words(hypothesis)), Counter(_f1_words(reference))
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


def _f1_words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", _PUNCTUATION.sub(" ", text.lower())).split()


def _ngrams(items: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(items[start : start + n]) for start in range(len(items) - n + 1)]


def _check_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise ValueError(f"found {len(hypotheses)} replies for {len(references)} references, expected one for each")
    if not hypotheses:
        raise ValueError("no replies to measure")
