"""How a model replies, by one name wherever a model is named: ``sft+recall``, ``sft+critic``, ``ppo+best-of-8``.

- ``recall`` shows the model only the persona sentences that a line may ask for (`judging.recall`), ``plain`` always
  all of them; it may stand before one of the others: ``sft+recall+critic``.
- ``critic`` drops the candidates that contradict a persona sentence by the local critic, and says the likeliest of the
  rest; where all of them contradict, the one that does so least.
- ``best-of-N`` says the candidate that the run's reward model likes best (Nakano et al. 2021, arXiv 2112.09332; Gao et
  al. 2023, arXiv 2210.10760).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from personatune.dialogue import Context
from personatune.errors import UserError
from personatune.judging.assertions import asserted
from personatune.judging.entailment import CONTRADICTION, EntailmentJudge
from personatune.judging.recall import shipped_recall
from personatune.pipeline.flagship import FLAGSHIP
from personatune.pipeline.run import Run
from personatune.words import mend_contractions

if TYPE_CHECKING:
    from personatune.model.generation import Chatbot
    from personatune.model.picking import Candidate, PickingChatbot
    from personatune.training.reward import RewardModel

CANDIDATES = 8
"""By default: as many as two cores decode at little more than the price of one."""
CONTRADICTION_FROM = 0.5
"""The probability from which a candidate is dropped, where the judge names none of its own."""
_SUFFIX = re.compile(r"(critic|best-of)(?:-(\d+))?")
_RECALL = re.compile(r"(.+)\+(?:(plain)|recall(?:=(.+))?)")


@dataclass(frozen=True)
class Strategy:
    """How a reply is chosen from candidates."""

    kind: Literal["critic", "best-of"]
    candidates: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.candidates}"

    def identity(self, bot: PickingChatbot) -> dict[str, Any]:
        """Return what makes another judge's choice another contender."""
        return {"strategy": self.name, "picked_by": getattr(bot.pick, "identity", "")}


def split_strategy(reference: str) -> tuple[str, Strategy | None]:
    """Split ``MODEL+critic-8`` into the model's name and the strategy; without one, None.

    Raises:
        UserError: fewer than two candidates.
    """
    model, plus, suffix = reference.rpartition("+")
    found = _SUFFIX.fullmatch(suffix) if plus and model else None
    if found is None:
        return reference, None
    count = int(found[2]) if found[2] else CANDIDATES
    if count < 2:
        raise UserError(f"{reference}: {count} candidates leave nothing to choose; expected 2 at least")
    return model, Strategy("critic" if found[1] == "critic" else "best-of", count)


def split_recall(reference: str) -> tuple[str, Path | None]:
    """Split ``MODEL+recall``, ``MODEL+recall=FOLDER`` or ``MODEL+plain`` into the model's name and recall's folder.

    The shipped model recalls unless it is asked to be plain; every other model only where it is asked to.
    """
    found = _RECALL.fullmatch(reference)
    if found is None:
        return reference, shipped_recall() if reference == FLAGSHIP else None
    if found[2]:
        return found[1], None
    return found[1], Path(found[3]) if found[3] else shipped_recall()


def recalling(bot: Chatbot, folder: Path) -> Chatbot:
    """Return a chatbot of the same model and sampling that is shown only the persona sentences a line may ask for.

    Raises:
        UserError: no persona recall in the folder, or a damaged one.
    """
    from personatune.judging.recall import Recall
    from personatune.model.generation import Chatbot
    from personatune.model.narrowed_prompts import NarrowedPrompts

    recall = Recall(folder)
    prompts = NarrowedPrompts(bot.prompts, recall.narrow, recall.identity)
    return Chatbot(bot.model, prompts, bot.sampling, batch_size=bot.batch_size, seed=bot.seed)


def strategic(bot: Chatbot, strategy: Strategy, run: Run | None, *, seed: int = 0) -> PickingChatbot:
    """Return a chatbot of the same model and sampling that chooses by a strategy.

    Args:
        run: whose reward model ``best-of`` asks.

    Raises:
        UserError: no critic, or no run with a reward model.
    """
    from personatune.model.picking import PickingChatbot

    pick = CriticPick.load() if strategy.kind == "critic" else RewardPick.load(run)
    return PickingChatbot(
        bot.model,
        bot.prompts,
        bot.sampling,
        pick,
        candidates=strategy.candidates,
        name=strategy.name,
        batch_size=bot.batch_size,
        seed=seed,
    )


class CriticPick:
    """Picks the likeliest candidate that contradicts no persona sentence; see the head of this file.

    Args:
        threshold: the probability of a contradiction from which a candidate is dropped.
    """

    def __init__(self, judge: EntailmentJudge, threshold: float) -> None:
        self.judge = judge
        self.threshold = threshold

    @classmethod
    def load(cls) -> CriticPick:
        from personatune.judging.critic import load_judge

        judge = load_judge()
        own = getattr(judge, "card", {}).get("contradiction_from")
        return cls(judge, CONTRADICTION_FROM if own is None else own)

    @property
    def identity(self) -> str:
        return f"{self.judge.name}, contradiction from {self.threshold:g}"

    def __call__(self, contexts: Sequence[Context], proposed: Sequence[Sequence[Candidate]]) -> list[int]:
        """Return the place of each context's choice."""
        risks = self.contradictions(contexts, proposed)
        return [self._choice(own, group) for own, group in zip(risks, proposed, strict=True)]

    def contradictions(self, contexts: Sequence[Context], proposed: Sequence[Sequence[Candidate]]) -> list[list[float]]:
        """Return each candidate's highest probability of contradicting a persona sentence; 0 if it asserts nothing."""
        pairs: dict[tuple[str, str], None] = {}
        asked: list[list[list[tuple[str, str]]]] = []
        for context, group in zip(contexts, proposed, strict=True):
            traits = [mend_contractions(trait) for trait in context.persona.traits]
            asked.append([[(line, trait) for line in asserted(one.text) for trait in traits] for one in group])
            pairs.update((pair, None) for own in asked[-1] for pair in own)
        rows = self.judge.probabilities(list(pairs)).tolist() if pairs else []
        found = {pair: float(row[CONTRADICTION]) for pair, row in zip(pairs, rows, strict=True)}
        return [[max((found[pair] for pair in own), default=0.0) for own in group] for group in asked]

    def _choice(self, risks: Sequence[float], group: Sequence[Candidate]) -> int:
        fitting = [place for place, risk in enumerate(risks) if risk < self.threshold]
        if fitting:
            return max(fitting, key=lambda place: group[place].logprob)
        return min(range(len(group)), key=risks.__getitem__)


class RewardPick:
    """Picks the candidate with the highest score of a reward model."""

    def __init__(self, reward: RewardModel, identity: str = "") -> None:
        self.reward = reward
        self.identity = identity

    @classmethod
    def load(cls, run: Run | None) -> RewardPick:
        """Load a run's reward model on a backbone of its own: the candidates may come from another policy.

        Raises:
            UserError: there is no run, or it has no reward model.
        """
        if run is None:
            raise UserError("best-of asks the reward model of a run: add --run NAME, or write NAME/sft+best-of-8")
        run.require("best-of", "reward")
        from personatune.model.branches import SplitModel
        from personatune.pipeline.models import load_model, load_prompts
        from personatune.storage import read_json
        from personatune.training.reward import RewardModel

        folder = run.folder("reward")
        reward = RewardModel(SplitModel(load_model(run, "sft"), run.config.branch), load_prompts(run.config))
        report = read_json(folder / "report.json")
        reward.load(folder / "branch", report)
        return cls(reward, f"reward model of run {run.name}, check score {report['check']['score']:.4f}")

    def __call__(self, contexts: Sequence[Context], proposed: Sequence[Sequence[Candidate]]) -> list[int]:
        """Return the place of each context's choice; among equals the first, which is the plain reply."""
        asked = [context for context, group in zip(contexts, proposed, strict=True) for _ in group]
        scores = iter(self.reward.score(asked, [one.text for group in proposed for one in group]))
        rows = [[next(scores) for _ in group] for group in proposed]
        return [max(range(len(row)), key=row.__getitem__) for row in rows]
