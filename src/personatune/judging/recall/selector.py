"""Persona recall: which persona sentences a partner's line may ask for, if any.

A small model that is told five sentences often answers an indirect question from the wrong one. Told one or two, the
likeliest last, it has little to mix up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from personatune.dialogue import Context, Persona

if TYPE_CHECKING:
    from torch import Tensor

    from personatune.judging.recall.network import RecallNetwork

_KEPT = 4096
"""Vectors of texts that are kept (6 MB): persona sentences come again with every turn."""
_ANSWERS_KEPT = 512
"""Every turn is asked about more than once: for its length, and for its reply."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a line is about.

    Attributes:
        chances: of each persona sentence that the line asks for it, from 0 to 1.
        none: the chance that it asks for none of them; all add to 1.
    """

    chances: tuple[float, ...]
    none: float

    def places(self, share: float) -> tuple[int, ...]:
        """Return the sentences to answer from, the likeliest last; all in their order where none is asked for.

        Args:
            share: of all sentences' chances; the fewest sentences that hold it are returned.
        """
        every = range(len(self.chances))
        if not self.chances or self.none >= max(self.chances):
            return tuple(every)
        shown: list[int] = []
        for place in sorted(every, key=self.chances.__getitem__, reverse=True):  # the first one of equals
            shown.insert(0, place)
            if sum(self.chances[one] for one in shown) >= share * sum(self.chances):
                break
        return tuple(shown)


def shipped_recall() -> Path:
    """Return the folder of the persona recall that comes with the package."""
    return Path(str(resources.files("personatune.judging.recall").joinpath("weights")))


class Recall:
    """The trained selector.

    Args:
        folder: with ``recall.json`` and ``recall.safetensors``, as `recall.files.save_recall` writes them.

    Raises:
        UserError: the folder holds none, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        from personatune.judging.recall.files import load_recall

        self.card: dict[str, Any]
        self._network: RecallNetwork
        self.card, self._network = load_recall(folder)
        self._vectors: OrderedDict[str, Tensor] = OrderedDict()
        self._answers: OrderedDict[tuple[str, tuple[str, ...]], Recalled] = OrderedDict()
        self._lock = Lock()  # several threads of a server or a demo may ask

    @property
    def identity(self) -> str:
        """Name, fingerprint and share: what makes another choice."""
        return f"recall {self.card['fingerprint']}, {self.card['share']:g} of the chances, likeliest last"

    def ask(self, line: str, traits: Sequence[str]) -> Recalled:
        """Return for each persona sentence the chance that ``line`` asks for it; last answers are kept."""
        if not traits:
            return Recalled((), 1.0)
        key = (line, tuple(traits))
        with self._lock:
            if key not in self._answers:
                self._answers[key] = self._answer(*key)
                while len(self._answers) > _ANSWERS_KEPT:
                    self._answers.popitem(last=False)
            return self._answers[key]

    def narrow(self, context: Context) -> Context:
        """Return the context with only the persona sentences that its last line may ask for, the likeliest last."""
        traits = context.persona.traits
        if len(traits) < 2 or not context.history:
            return context
        places = self.ask(context.history[-1].text, traits).places(self.card["share"])
        return replace(context, persona=Persona(tuple(traits[place] for place in places), context.persona.name))

    def _answer(self, line: str, traits: tuple[str, ...]) -> Recalled:
        import torch

        with torch.inference_mode():
            vectors = self._look_up([line, *traits])
            chances = self._network(vectors[:1], vectors[1:])[0].softmax(dim=0).tolist()
        return Recalled(tuple(chances[:-1]), chances[-1])

    def _look_up(self, texts: Sequence[str]) -> Tensor:
        import torch

        new = list(dict.fromkeys(text for text in texts if text not in self._vectors))
        if new:
            self._vectors.update(zip(new, self._network.vectors(new), strict=True))
            self._network.forget()
        found = torch.stack([self._vectors[text] for text in texts])
        while len(self._vectors) > _KEPT:
            self._vectors.popitem(last=False)
        return found
