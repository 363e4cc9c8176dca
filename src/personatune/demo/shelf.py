"""The models of the demo: loaded once, shared by all browser tabs, one step of one reply at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from personatune.dialogue import Context
from personatune.errors import UserError
from personatune.judging.entailment import EntailmentJudge
from personatune.pipeline.contenders import load_contender
from personatune.pipeline.reply_strategies import CANDIDATES, CriticPick

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from personatune.model.generation import Chatbot, Sampling


class OneAtATime:
    """An `EntailmentJudge` that several threads may ask."""

    def __init__(self, judge: EntailmentJudge) -> None:
        self._judge = judge
        self._lock = Lock()

    @property
    def name(self) -> str:
        return self._judge.name

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return the judge's own answers."""
        with self._lock:
            return self._judge.probabilities(pairs)


class Shelf:
    """Models by the names that users give them.

    Two tabs that ask at once get their tokens in turns: a model takes one step at a time, whoever it is for.

    Args:
        bots: the first one is the one that a tab begins with.
        pick: chooses among candidates where re-ranking is on; None: there is no critic, and re-ranking is refused.
    """

    def __init__(self, bots: Mapping[str, Chatbot], pick: CriticPick | None = None) -> None:
        if not bots:
            raise ValueError("a demo needs a model to talk to")
        self._bots = dict(bots)
        self._pick = pick
        locks: dict[int, Lock] = {}
        self._locks = {name: locks.setdefault(id(bot.model), Lock()) for name, bot in bots.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._bots)

    @property
    def can_rerank(self) -> bool:
        return self._pick is not None

    def decoding(self, name: str) -> dict[str, Any]:
        """Return how a model's replies are drawn, as printed with them."""
        return self._bots[name].decoding

    def stream(self, name: str, context: Context, *, seed: int, rerank: bool = False) -> Iterator[str]:
        """Yield a reply in pieces: token by token, or in one piece where it is one of several candidates.

        Args:
            seed: of this reply's own draws, so that no other tab's replies change them.

        Raises:
            UserError: no such model, no critic to re-rank with, or a persona longer than the model can read.
        """
        if name not in self._bots:
            raise UserError(f"no model {name!r} here; there are {', '.join(self._bots)}")
        if rerank and self._pick is None:
            raise UserError("re-ranking needs the critic, which this installation lacks (personatune doctor)")
        pieces = self._fresh(self._bots[name], seed, rerank).stream(context)
        lock = self._locks[name]
        while True:
            with lock:
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def _fresh(self, bot: Chatbot, seed: int, rerank: bool) -> Chatbot:
        from personatune.model.generation import Chatbot
        from personatune.model.picking import PickingChatbot

        parts = (bot.model, bot.prompts, bot.sampling)
        if isinstance(bot, PickingChatbot):  # sft+best-of-8 picks by itself
            return PickingChatbot(
                *parts, bot.pick, candidates=bot.candidates, name=bot.name, batch_size=bot.batch_size, seed=seed
            )
        if not rerank or self._pick is None:
            return Chatbot(*parts, batch_size=bot.batch_size, seed=seed)
        return PickingChatbot(
            *parts,
            self._pick,
            candidates=CANDIDATES,
            name=f"critic-{CANDIDATES}",
            batch_size=bot.batch_size,
            seed=seed,
        )


def load_bots(
    references: Sequence[str],
    *,
    run: str | None = None,
    runs: Path = Path("runs"),
    base: str | None = None,
    sampling: Sampling | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Chatbot]:
    """Load the models that references name (`load_contender`), each once.

    Raises:
        UserError: nothing of that name, or nobody to talk to.
    """
    bots: dict[str, Chatbot] = {}
    for reference in dict.fromkeys(references):
        say(f"loading {reference}")
        bot = load_contender(reference, run=run, runs=runs, base=base, sampling=sampling).chatbot
        if bot is None:
            raise UserError(f"--model {reference}: nobody to talk to; give flagship, base, sft, a folder or an id")
        bots[reference] = bot
    return bots
