"""Persona recall: which persona sentences a line may ask for, by a small trained selector that the package ships."""

from personatune.judging.recall.selector import Recall, Recalled, shipped_recall

__all__ = ["Recall", "Recalled", "shipped_recall"]
