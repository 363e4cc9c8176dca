"""The judge and the encoder of an evaluation: found once, and where there is none, the reason why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personatune.errors import DamagedFileError, UserError
from personatune.evaluation.judged import JudgedEvaluator, decision_in_words
from personatune.judging.entailment import EntailmentJudge
from personatune.judging.kept_answers import KeptAnswers
from personatune.progress import Progress

if TYPE_CHECKING:
    from personatune.judging.encoder import SentenceEncoder

NO_JUDGE = "none"
_SHIPPED = "critic"


@dataclass(frozen=True)
class Judges:
    """Who judges replies.

    Attributes:
        judge: None where ``why_no_judge`` says why.
        card: what the judge says of itself (its accuracy), to be printed with its figures.
        encoder: None where ``why_no_encoder`` says why.
    """

    judge: EntailmentJudge | None = None
    why_no_judge: str = "no judge (--judge none)"
    card: dict[str, Any] | None = None
    encoder: SentenceEncoder | None = None
    why_no_encoder: str = "no sentence encoder"

    def evaluator(self, kept: Path, samples: int, seed: int, progress: Progress) -> JudgedEvaluator | None:
        """Return the judge with its answers kept in a file."""
        if self.judge is None:
            return None
        return JudgedEvaluator(KeptAnswers(self.judge, kept, progress), samples, seed, threshold=self.threshold)

    @property
    def threshold(self) -> float | None:
        """The probability from which this judge's contradictions count, where it says one; else the likeliest label."""
        return None if self.card is None else self.card.get("contradiction_from")

    def to_json(self) -> dict[str, Any]:
        """Return what is printed with judged figures."""
        return {
            "judge": self.judge.name if self.judge else None,
            "why_no_judge": None if self.judge else self.why_no_judge,
            "decision": decision_in_words(self.threshold) if self.judge else None,
            "card": self.card,
            "encoder": self.encoder.source if self.encoder else None,
            "why_no_encoder": None if self.encoder else self.why_no_encoder,
        }


def find_judges(reference: str = _SHIPPED, encoder: str | None = "embedded") -> Judges:
    """Load judge and encoder. The shipped judge may be missing, a judge that was named may not.

    Args:
        encoder: None where none is needed.

    Raises:
        UserError: a judge other than the shipped one can't be loaded, or a file that came with the installation is
            damaged.
    """
    found, why_no_encoder = _encoder(encoder) if encoder is not None else (None, "not asked for")
    parts: dict[str, Any] = {"encoder": found, "why_no_encoder": why_no_encoder}
    if reference == NO_JUDGE:
        return Judges(**parts)
    from personatune.judging.critic import load_judge

    try:
        judge = load_judge(reference)
    except DamagedFileError:
        raise
    except UserError as error:
        if reference != _SHIPPED:
            raise
        return Judges(why_no_judge=f"no judge ({error})", **parts)
    card = getattr(judge, "card", None)
    return Judges(judge, "", dict(card) if card else None, **parts)


def _encoder(source: str) -> tuple[SentenceEncoder | None, str]:
    from personatune.judging.encoder import SentenceEncoder

    try:
        return SentenceEncoder(source), ""
    except DamagedFileError:
        raise
    except UserError as error:
        return None, str(error)
