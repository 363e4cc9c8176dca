"""How the figures of an evaluation are called in its tables, which way is better, and their unit."""

from __future__ import annotations

from typing import NamedTuple

from personatune.evaluation.drift_figures import DRIFT, FIRST_HALF, SECOND_HALF


class Label(NamedTuple):
    """One figure as printed.

    Attributes:
        better: "up", "down", or "" where neither end is good in itself.
        unit: "share" is printed as per cent, "number" as it is.
    """

    text: str
    better: str
    unit: str

    @property
    def head(self) -> str:
        """The text with an arrow to the better end."""
        return self.text + {"up": " ↑", "down": " ↓", "": ""}[self.better]


_LABELS = {
    "probe_consistency": Label("consistent answers", "up", "share"),
    "contradiction_rate": Label("contradicting answers", "down", "share"),
    "relevance": Label("relevance", "", "number"),
    "copy_share": Label("copies persona", "down", "share"),
    "repetition": Label("repeats itself", "down", "share"),
    "trait_coverage": Label("trait coverage", "", "share"),
    "prompt_to_line": Label("prompt to line", "up", "share"),
    "line_to_line": Label("line to line", "up", "share"),
    "c_score": Label("C-score", "", "number"),
    "trait_score": Label("trait score", "", "number"),
    "engagement": Label("engagement", "up", "number"),
    "engagement_equal": Label("engagement, equal weights", "up", "number"),
    "reply_words": Label("words", "", "number"),
    "hits1": Label("Hits@1", "up", "number"),
    "entail1": Label("Entail@1", "up", "number"),
    "rand1": Label("Rand@1", "down", "number"),
    "contradict1": Label("Contradict@1", "down", "number"),
    "f1": Label("F1", "up", "number"),
    "bleu": Label("BLEU", "up", "number"),
    "rouge_l": Label("ROUGE-L", "up", "number"),
    "perplexity_token": Label("perplexity, own tokens", "down", "number"),
    "perplexity_word": Label("perplexity, words", "down", "number"),
    "distinct_1": Label("Distinct-1", "", "number"),
    "distinct_2": Label("Distinct-2", "", "number"),
    "contradicting_lines": Label("contradicting lines", "down", "share"),
    "asserting_lines": Label("asserting lines", "", "share"),
    "keyword_contradictions": Label("lines that turn a trait round", "down", "share"),
    "qa_pmi_accuracy": Label("right by what the persona adds", "up", "share"),
    "qa_accuracy": Label("right by likelihood", "up", "share"),
    "qa_accuracy_bare": Label("right without the persona", "", "share"),
}
_PARTS = {FIRST_HALF: "first half", SECOND_HALF: "second half", DRIFT: "drift"}


def label_of(metric: str) -> Label:
    """Return a figure's label; that of a half or a drift (``c_score_drift``) is made of its measure's."""
    for suffix, part in _PARTS.items():
        measure = metric.removesuffix(suffix)
        if measure != metric:
            label = _LABELS[measure]
            return label._replace(text=f"{label.text}, {part}")
    return _LABELS[metric]
