"""NaN and exploding losses: caught before they move a weight, taken back once, then told.

A step whose loss or gradient is not finite, or whose loss is far above where the training began, is not taken
(`Refused`). The trainer goes back to its last sound checkpoint and on from there at a quarter of the learning rate;
where that happens a second time it stops with a line that says what was seen and where (`DivergedError`). Which
checkpoints are sound depends on the step alone, never on when a run was interrupted, so a resumed run goes back to
where an uninterrupted one does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from personatune.errors import UserError
from personatune.training.checkpoints import Checkpoint, CheckpointManager

SMALLER = 0.25
"""What the learning rate is multiplied with: a rate that blows up is rarely more than twice too large, and a quarter
still learns."""

_WINDOW = 4  # losses that are averaged: one odd batch is no explosion
_RISE = 4.0  # times the mean of the first losses; ordinary training doesn't come near twice
_PPO_RISE = 100.0
_ROWS_TOLD = 3


class DivergedError(UserError):
    """The training diverged again after it was taken back; one line says where and what to do."""


class Refused(Exception):  # noqa: N818  (a turn in the training, not yet an error)
    """A step that must not move the weights.

    Attributes:
        what: what was seen, in words ("loss nan, gradient norm nan").
        on: what it was computed on, where that is not the batch of the step.
    """

    def __init__(self, what: str, on: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.on = on


class Stability:
    """Watches the losses of one training and says what happens to a step that must not be taken.

    Args:
        stage: as users know it ("SFT").
        unit: what its steps are called ("step", "update").
        setting: the learning rate's name, with its value ("sft.learning_rate 0.0005").
        floor: a loss that is no explosion whatever the first ones were: of a language model the logarithm of its
            vocabulary, which is the loss of guessing.

    Attributes:
        factor: of the learning rate, 1 until a step was taken back.
        rollbacks: each that was made: ``step``, ``back_to``, ``what``, ``factor``.
    """

    def __init__(self, stage: str, setting: str, *, unit: str = "step", floor: float = 0.0) -> None:
        self.stage = stage
        self.setting = setting
        self.unit = unit
        self.floor = floor
        self.factor = 1.0
        self.rollbacks: list[dict[str, Any]] = []
        self._first: list[float] = []
        self._recent: list[float] = []

    def check(self, loss: float, norm: float = 0.0) -> None:
        """Note a step's loss and gradient norm, of all processes together, before it is taken.

        Raises:
            Refused: one of them is not finite, or the last losses are far above the first.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Refused(f"loss {loss:.4g}, gradient norm {norm:.4g}")
        recent = [*self._recent, loss][-_WINDOW:]
        mean, limit = math.fsum(recent) / len(recent), self.limit
        if mean > limit:
            raise Refused(f"loss {loss:.4g}, a mean of {mean:.4g} over {len(recent)} where {limit:.4g} is the limit")
        self._recent = recent
        if len(self._first) < _WINDOW:
            self._first.append(loss)

    def check_held_out(self, loss: float, on: str) -> None:
        """Look at a held-out loss, before anything is saved as good.

        Raises:
            Refused: it is not finite, or beyond the `limit`.
        """
        if not math.isfinite(loss) or loss > self.limit:
            why = f" where {self.limit:.4g} is the limit" if math.isfinite(loss) else ""
            raise Refused(f"held-out loss {loss:.4g}{why}", on)

    @property
    def limit(self) -> float:
        """Return what the mean of the last losses may be; infinity before the first one."""
        first = self._first
        return max(self.floor, _RISE * math.fsum(first) / len(first)) if first else math.inf

    def take_back(
        self,
        refused: Refused,
        step: int,
        checkpoints: CheckpointManager,
        rows: Callable[[], str],
        say: Callable[[str], None],
    ) -> Checkpoint:
        """Return the last sound checkpoint to go on from, with a smaller `factor`; newer ones are deleted.

        Args:
            step: how many were taken.
            rows: says what the step was computed on; asked only where the training stops.

        Raises:
            DivergedError: it was taken back before, or there is nowhere to go back to.
        """
        sound = None if self.rollbacks else checkpoints.load_sound()
        if sound is None:
            before = self.rollbacks[-1] if self.rollbacks else None
            again = (
                f" again, after going back from {self.unit} {before['step']} to {before['back_to']} with "
                f"{before['factor']:g} of the learning rate"
                if before
                else ""
            )
            way_out = f"look at these rows, or lower {self.setting} and start over with --redo"
            if not step:
                way_out = "the model itself is at fault, not its training: set model.dtype=float32, or take another one"
            raise DivergedError(
                f"{self.stage} diverged{again}: {refused.what} after {self.unit} {step}, computed on "
                f"{refused.on or rows()}; {way_out}"
            )
        checkpoints.drop_after(sound.step)
        self.restore(sound.state.get("stability"))
        self.factor *= SMALLER
        self.rollbacks = [
            *self.rollbacks, {"step": step, "back_to": sound.step, "what": refused.what, "factor": self.factor},
        ]  # fmt: skip
        say(
            f"{self.stage}: {refused.what} after {self.unit} {step}; back to {self.unit} {sound.step}, and on with "
            f"{self.factor:g} of the learning rate"
        )
        return sound

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON."""
        return {
            "factor": self.factor,
            "rollbacks": list(self.rollbacks),
            "first": list(self._first),
            "recent": list(self._recent),
        }

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Take what `state` gave; None, from a checkpoint of an older version, is a fresh start."""
        kept = state or {}
        self.factor = kept.get("factor", 1.0)
        self.rollbacks = list(kept.get("rollbacks", ()))
        self._first, self._recent = list(kept.get("first", ())), list(kept.get("recent", ()))


def require_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors with a NaN or an infinity in them.

    Raises:
        Refused: names the first one and how many of its numbers are not finite.
    """
    for name, tensor in tensors.items():
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            raise Refused(f"{wrong} of {tensor.numel()} numbers of {name} are not finite")


def check_losses(figures: Mapping[str, float], norms: Mapping[str, float], returns_M: Tensor) -> None:
    """Look at the losses of a PPO minibatch before it moves anything.

    Advantages have unit size, so the policy's loss is of the order of 1; a critic that knows nothing has a loss of half
    the mean square of the returns. A hundred times either is an explosion.

    Args:
        figures: ``policy_loss``, ``value_loss`` (with a critic) and what else there is.
        norms: of the gradients, by whose they are.

    Raises:
        Refused: something is not finite, or a loss explodes.
    """
    seen = {**figures, **{f"gradient norm of the {name}": norm for name, norm in norms.items()}}
    wrong = [f"{name} {value:.4g}" for name, value in seen.items() if not math.isfinite(value)]
    limits = {"policy_loss": _PPO_RISE, "value_loss": _PPO_RISE * max(1.0, float(returns_M.square().mean()))}
    wrong += [
        f"{name} {figures[name]:.4g} where {limit:.4g} is the limit"
        for name, limit in limits.items()
        if math.isfinite(figures.get(name, math.nan)) and abs(figures[name]) > limit
    ]
    if wrong:
        raise Refused(", ".join(wrong))


def told_rows(names: Sequence[str], losses: Sequence[float] | None = None) -> str:
    """Return the rows of a batch in words: those without a finite loss, or with the largest, come first."""
    order = list(range(len(names)))
    if losses is not None:
        order.sort(key=lambda row: (math.isfinite(losses[row]), -losses[row] if math.isfinite(losses[row]) else 0.0))
    told = [names[row] if losses is None else f"{names[row]} (loss {losses[row]:.4g})" for row in order[:_ROWS_TOLD]]
    more = len(names) - len(told)
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")
