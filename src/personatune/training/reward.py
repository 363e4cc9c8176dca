"""The reward model: a LoRA branch with a head that scores replies, trained on preference pairs (Bradley–Terry)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from personatune.costs.flops import RowSizes
from personatune.costs.meter import StageMeter
from personatune.dialogue import Context, PreferencePair
from personatune.errors import UserError
from personatune.model.branches import SplitModel, Trunk
from personatune.model.prompts import PromptFormat
from personatune.model.shared_replies import BATCH_TOKENS, SharedReplies
from personatune.model.trunk_cache import TrunkCache
from personatune.model.work import branch_work
from personatune.progress import Progress, SilentProgress
from personatune.settings import RewardConfig
from personatune.training.checkpoints import Checkpoint, optimizer_tensors, restore_optimizer
from personatune.training.distributed import in_turn, join_processes
from personatune.training.divergence import Refused, Stability, told_rows
from personatune.training.identity import model_mark, rows_mark
from personatune.training.interrupts import StopRequest
from personatune.training.length_line import LengthLine
from personatune.training.reward_report import report, swap_personas
from personatune.training.rl_math import bradley_terry_loss
from personatune.training.tracking import SilentTracker, Tracker

BRANCH = "reward"
_FITTED = 256  # training pairs whose replies show how scores follow length: a slope needs no more


class RewardModel:
    """Scores replies in their context; higher is better. The branch lives on a shared backbone.

    Attributes:
        mean, scale: of the scores on held-out pairs; `normalise` uses them, so that PPO sees unit-sized rewards.
        length: what a reply's length alone adds to a score, taken out of every score (`LengthLine`).
    """

    def __init__(self, split: SplitModel, prompts: PromptFormat, *, seed: int = 0) -> None:
        self.split = split
        self.prompts = prompts
        self.mean = 0.0
        self.scale = 1.0
        self.length = LengthLine()
        split.add_branch(BRANCH, head=True, seed=seed)

    @torch.no_grad()
    def score(
        self, contexts: Sequence[Context], replies: Sequence[str], batch_tokens: int = BATCH_TOKENS
    ) -> list[float]:
        """Return one score for each reply to its context; replies to one context are read in one row."""
        items = [self.encode(context, reply) for context, reply in zip(contexts, replies, strict=True)]
        shared = SharedReplies(self.split, items, self.prompts.pad_id)
        scores = [0.0] * len(items)
        for numbers in shared.buckets(tokens=batch_tokens):
            for number, score in zip(numbers, self.score_trunk(shared.batch(numbers)).tolist(), strict=True):
                scores[number] = score
        return scores

    def encode(self, context: Context, reply: str) -> tuple[list[int], list[int]]:
        """Return context and reply as tokens; the reply's end with its end marker."""
        answer = self.prompts.encode_reply(reply)
        return self.prompts.encode_prompt(context, reserve=len(answer)), answer

    def score_trunk(self, trunk: Trunk) -> Tensor:
        """Return the scores of a batch's replies, N, read at their last tokens; with gradients where they are on."""
        with self.split.active(BRANCH):
            raw = self.split.scalar(BRANCH, self.split.at_ends(trunk))
        if not self.length.slope:
            return raw
        return raw - self.length(torch.tensor(trunk.rows.lengths, dtype=raw.dtype, device=raw.device))

    def normalise(self, scores: Tensor) -> Tensor:
        """Shift and scale scores by what held-out pairs score."""
        return (scores - self.mean) / self.scale

    def save(self, folder: Path) -> None:
        """Write the branch with its head."""
        self.split.save_branch(BRANCH, folder)

    def load(self, folder: Path, report: dict[str, Any]) -> None:
        """Load a trained branch with its head and the report of its training.

        Raises:
            UserError: it isn't there, or scores otherwise than when it was saved (a head that didn't come along).
        """
        self.split.load_branch(BRANCH, folder)
        self.mean, self.scale = report["score_mean"], report["score_scale"]
        self.length = LengthLine(**report.get("length", {}))
        check = report["check"]
        found = self.score([Context.from_json(check["context"])], [check["reply"]])[0]
        if abs(found - check["score"]) > 1e-3 * max(1.0, abs(check["score"])):
            raise UserError(
                f"{folder}: the loaded reward model scores its check reply {found:.4f}, it scored {check['score']:.4f} "
                f"when it was saved; delete the folder to train it again"
            )


class RewardModelTrainer:
    """Trains a `RewardModel` and reports whether it deserves trust, before any reinforcement learning.

    The trunk's output of every context and reply is computed once and reused by all epochs (`TrunkCache`). Both
    replies of a pair stand behind one encoding of their context. A step's gradients are those of all its pairs at
    once, whatever rows of like length went through the layers together.
    """

    def __init__(
        self,
        reward: RewardModel,
        config: RewardConfig,
        directory: Path,
        *,
        seed: int = 0,
        batch_tokens: int = BATCH_TOKENS,
        open_tracker: Callable[[int], Tracker] = lambda _step: SilentTracker(),
        progress: Progress | None = None,
        meter: StageMeter | None = None,
    ) -> None:
        self.reward = reward
        self.config = config
        self.directory = directory
        self.seed = seed
        self.batch_tokens = batch_tokens
        self.open_tracker = open_tracker
        self.progress = progress or SilentProgress()
        self.meter = meter
        self.parameters: list[nn.Parameter] = reward.split.parameters(BRANCH)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=0.0, fused=True)
        self.processes = join_processes()
        self._model = model_mark(reward.split.backbone)
        self.processes.shard(reward.split.backbone)
        self.work = branch_work(reward.split, BRANCH)
        self.stability = Stability("reward model", f"reward.learning_rate {config.learning_rate:g}")
        self.checkpoints = self.processes.checkpoints(directory / "checkpoints", say=self.progress.say)

    def train(self, pairs: Sequence[PreferencePair]) -> None:
        """Train on pairs, resuming where an interrupted call stopped.

        Raises:
            UserError: no pairs.
            DivergedError: the loss was not finite or exploded, and did so again after going back once.
            KeyboardInterrupt: Ctrl-C; the last whole step was saved, the next call goes on there.
        """
        if not pairs:
            raise UserError("the reward model needs preference pairs, found none; run the stage preferences first")
        if len(pairs) < self.processes.count:
            raise UserError(f"{len(pairs)} preference pairs for {self.processes.count} processes; launch fewer")
        steps_per_epoch = -(-len(pairs) // self.config.batch_size)
        total = steps_per_epoch * self.config.epochs
        self.checkpoints.identity = {
            "stage": "reward",
            "seed": self.seed,
            "model": self._model,
            "settings": self.config.model_dump(mode="json", exclude={"targets"}),
            "data": rows_mark(pair.to_json() for pair in pairs),
        }
        step = self._resume()
        tracker = self.open_tracker(step)
        self.reward.length = LengthLine()  # the loss sees raw scores
        with StopRequest(alone=self.processes.alone) as stop:
            try:
                with stop.at_once():
                    data = self._encode(pairs)
                count = len(pairs)
                if not step:
                    self._save(0, sound=True)
                with self.progress.task("Reward model", total) as task:
                    task.advance(step)
                    while step < total:
                        try:
                            loss, accuracy = self._step(data, count, step, total, stop)
                        except Refused as refused:
                            tracker.close()
                            back = self._take_back(refused, step, pairs)
                            task.advance(back - step)
                            step = back
                            tracker = self.open_tracker(step)
                            continue
                        step += 1
                        tracker.log({"loss": loss, "batch_accuracy": accuracy}, step)
                        task.advance(1, loss=loss, accuracy=accuracy)
                        if step % steps_per_epoch == 0 or self.checkpoints.due:
                            self._save(step, sound=step % steps_per_epoch == 0)
                        if self.processes.any(stop.requested):
                            raise KeyboardInterrupt
            except KeyboardInterrupt:
                if step and self.checkpoints.current != step and not stop.hurried:
                    self._save(step, sound=False)
                tracker.close()
                raise
        tracker.close()
        if self.config.length_control == "residual":
            self._take_out_length(data, count)
        data.clear()

    @torch.no_grad()
    def _take_out_length(self, data: SharedReplies, count: int) -> None:
        """Fit the slope of score over length on the replies of at most `_FITTED` training pairs."""
        pairs = random.Random(self.seed).sample(range(count), min(count, _FITTED))
        own = [pair for pair in pairs if pair in data.piece_of]
        lengths, scores = torch.zeros(2 * count), torch.zeros(2 * count)
        with self.processes.whole(self.reward.split.backbone):
            for numbers in data.buckets([(pair, count + pair) for pair in own], self.batch_tokens):
                trunk = data.batch(numbers)
                scores[numbers] = self.reward.score_trunk(trunk).float().cpu()
                lengths[numbers] = torch.tensor(trunk.rows.lengths, dtype=torch.float32)
        lengths, scores = self.processes.summed(lengths), self.processes.summed(scores)
        read = lengths > 0
        self.reward.length = LengthLine.fit(lengths[read], scores[read])

    def _step(self, data: SharedReplies, count: int, step: int, total: int, stop: StopRequest) -> tuple[float, float]:
        chosen = self._chosen(count, step)
        with stop.at_once():
            loss, accuracy = self.gradients(data, [(pair, count + pair) for pair in chosen])
        for group in self.optimizer.param_groups:  # linear decay: a short run ends settled
            group["lr"] = self.config.learning_rate * (1 - step / total) * self.stability.factor
        self.processes.sum_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm, foreach=True)
        loss, accuracy = self.processes.total(loss), self.processes.total(accuracy)
        try:
            self.stability.check(loss, float(norm))
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return loss, accuracy

    def _chosen(self, count: int, step: int) -> list[int]:
        """Return the pairs of a step: a function of seed and step alone, so a resumed run sees the same ones."""
        epoch, within = divmod(step, -(-count // self.config.batch_size))
        order = list(range(count))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        return in_turn(order)[within * self.config.batch_size : (within + 1) * self.config.batch_size]

    def _take_back(self, refused: Refused, step: int, pairs: Sequence[PreferencePair]) -> int:
        """Go back to the last sound checkpoint; returns its step."""

        def rows() -> str:
            return f"the pairs {told_rows([pairs[place].origin for place in self._chosen(len(pairs), step)])}"

        sound = self.stability.take_back(refused, step, self.checkpoints, rows, self.progress.say)
        return self._restore(sound)

    def gradients(self, data: SharedReplies, pairs: Sequence[tuple[int, int]]) -> tuple[float, float]:
        """Add the gradients of the mean loss over pairs (numbers of better and worse reply); return loss, accuracy.

        With more than one process, each does this for the pairs it owns; gradients and figures are to be summed.
        """
        loss = accuracy = 0.0
        own = [pair for pair in pairs if pair[0] in data.piece_of]
        parts = data.buckets(own, self.batch_tokens)  # better and worse in turn
        for numbers, factor in self.processes.evenly(parts, lambda: list(data.piece_of)[:2]):
            trunk = data.batch(numbers)
            scores = self.reward.score_trunk(trunk)
            better, worse = scores[0::2], scores[1::2]
            share = factor * len(better) / len(pairs)
            part = bradley_terry_loss(better, worse) * share
            part.backward()
            loss += float(part.detach())
            accuracy += float((better > worse).float().mean()) * share
            if self.meter:
                rows = RowSizes.of([piece.sizes_of(places) for piece, places in data.chosen(numbers)])
                self.meter.add(tokens_trained=rows.tokens, flops=self.work.training(rows, len(numbers), 0))
        return loss, accuracy

    def _encode(self, pairs: Sequence[PreferencePair]) -> TrunkCache:
        """Run the shared layers over this process's pairs: the better replies have the first numbers."""
        items = [self.reward.encode(pair.context, pair.chosen) for pair in pairs]
        items += [self.reward.encode(pair.context, pair.rejected) for pair in pairs]
        own = self.processes.own(range(len(pairs)))
        own += [len(pairs) + pair for pair in own]
        split = self.reward.split
        with self.progress.task("Reward model: shared layers", len(own)) as task, self.processes.whole(split.backbone):
            cache = TrunkCache(
                split,
                items,
                self.reward.prompts.pad_id,
                own=own,
                folder=self.processes.folder(self.directory / "trunk"),
                advance=task.advance,
            )
        if self.meter:
            self.meter.add(flops=self.work.trunk(RowSizes.of(piece.sizes for piece in cache.pieces)))
        return cache

    def _save(self, step: int, *, sound: bool) -> None:
        self.processes.align(self.parameters)
        moments, groups = optimizer_tensors(self.optimizer)
        tensors = {"weights": self.reward.split.branch_tensors(BRANCH), "optimizer": moments}
        state = {"optimizer": groups, "stability": self.stability.state()}
        self.checkpoints.save(step, tensors, state, sound=sound)

    def _resume(self) -> int:
        saved = self.checkpoints.load_last()
        if saved is None:
            return 0
        self.stability.restore(saved.state.get("stability"))
        return self._restore(saved)

    def _restore(self, saved: Checkpoint) -> int:
        self.reward.split.restore_branch(BRANCH, saved.tensors["weights"])
        restore_optimizer(self.optimizer, saved.tensors["optimizer"], saved.state["optimizer"])
        return saved.step

    def evaluate(self, pairs: Sequence[PreferencePair], bootstrap_samples: int = 1000) -> dict[str, Any]:
        """Judge the model on held-out pairs: see `report`; also fixes the scale that `normalise` uses.

        Raises:
            UserError: no pairs, or all of one persona.
        """
        if not pairs:
            raise UserError("the reward model needs held-out pairs, found none; raise data.validation_share")
        contexts = [pair.context for pair in pairs]
        chosen, rejected, swapped = (
            self._scores(asked, replies)
            for asked, replies in (
                (contexts, [pair.chosen for pair in pairs]),
                (contexts, [pair.rejected for pair in pairs]),
                (swap_personas(contexts), [pair.chosen for pair in pairs]),
            )
        )
        scores = torch.tensor(chosen + rejected)
        self.reward.mean = float(scores.mean())
        self.reward.scale = float(scores.std().clamp(min=1e-6))
        figures = report(pairs, chosen, rejected, swapped, bootstrap_samples, self.seed)
        check = {"context": contexts[0].to_json(), "reply": pairs[0].chosen, "score": chosen[0]}
        return {
            **figures,
            "score_mean": self.reward.mean,
            "score_scale": self.reward.scale,
            "length": asdict(self.reward.length),
            "check": check,
        }

    def _scores(self, contexts: Sequence[Context], replies: Sequence[str]) -> list[float]:
        with self.processes.whole(self.reward.split.backbone):
            return self.processes.in_order(self.reward.score(self.processes.own(contexts), self.processes.own(replies)))
