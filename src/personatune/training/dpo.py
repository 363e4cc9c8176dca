"""Direct preference optimisation on the policy branch: the reference is the backbone, no reward model is needed.

A pair's context is encoded once for both replies, the shared layers run once for all epochs (`TrunkCache`), and the
reference's log-probabilities are computed once. A step's gradients are those of all its pairs at once, whatever rows
of like length went through the layers together. What the options mean stands in docs/methods.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from personatune.costs.meter import StageMeter
from personatune.dialogue import PreferencePair
from personatune.errors import UserError
from personatune.model.branches import SplitModel
from personatune.model.prompts import PromptFormat
from personatune.model.shared_replies import BATCH_TOKENS
from personatune.progress import Progress, SilentProgress
from personatune.settings import DPOConfig
from personatune.training.budget import Budget
from personatune.training.checkpoints import Checkpoint, optimizer_tensors, restore_optimizer
from personatune.training.distributed import in_turn, join_processes
from personatune.training.divergence import Refused, Stability, told_rows
from personatune.training.dpo_losses import FIGURES, pair_losses
from personatune.training.dpo_result import DPOResult
from personatune.training.encoded_pairs import EncodedPairs, check_start, encode_pairs
from personatune.training.identity import model_mark
from personatune.training.interrupts import StopRequest
from personatune.training.preference_report import PairLikelihood, look_figures, pairs_fingerprint, report
from personatune.training.rollouts import POLICY
from personatune.training.tracking import SilentTracker, Tracker


class DPOTrainer:
    """Trains the policy branch on preference pairs; `train` runs or resumes it.

    Args:
        split: the backbone; the policy branch is added here, as PPO adds it.
        budget: seconds of training that may be spent; by default the epochs alone say when it ends.
        open_tracker: given the step it resumes at, returns where figures go.
    """

    def __init__(
        self,
        split: SplitModel,
        prompts: PromptFormat,
        config: DPOConfig,
        directory: Path,
        *,
        seed: int = 0,
        batch_tokens: int = BATCH_TOKENS,
        budget: Budget | None = None,
        open_tracker: Callable[[int], Tracker] = lambda _step: SilentTracker(),
        progress: Progress | None = None,
        meter: StageMeter | None = None,
    ) -> None:
        self.split = split
        self.prompts = prompts
        self.config = config
        self.directory = directory
        self.seed = seed
        self.batch_tokens = batch_tokens
        self.budget = budget or Budget()
        self.open_tracker = open_tracker
        self.progress = progress or SilentProgress()
        self.meter = meter
        split.add_branch(POLICY, head=False, seed=seed + 1)
        self.parameters: list[nn.Parameter] = split.parameters(POLICY)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=0.0, fused=True)
        self.processes = join_processes()
        settings = config.model_dump(mode="json")
        identity = {"stage": "dpo", "seed": seed, "model": model_mark(split.backbone), "settings": settings}
        self.processes.shard(split.backbone)
        self.stability = Stability("DPO", f"dpo.learning_rate {config.learning_rate:g}")
        self.checkpoints = self.processes.checkpoints(
            directory / "checkpoints", identity=identity, say=self.progress.say
        )
        self._encoded: tuple[str, EncodedPairs] | None = None  # held-out pairs, judged once more after the training
        self._marks = ""
        self._tracker: Tracker = SilentTracker()

    def train(self, pairs: Sequence[PreferencePair], held_out: Sequence[PreferencePair]) -> DPOResult:
        """Train on pairs, resuming where an interrupted call stopped; the branch ends at the best held-out look.

        Raises:
            UserError: no pairs, or an interrupted training on other pairs lies in the folder.
            DivergedError: the loss was not finite or exploded, and did so again after going back once.
            KeyboardInterrupt: Ctrl-C; the last whole step was saved, the next call goes on there.
            RuntimeError: the fresh policy isn't the reference (a defect of the program or an unsupported model).
        """
        self._check(pairs, held_out)
        self._marks = pairs_fingerprint(pairs)
        result = DPOResult()
        self._resume(result)
        self._tracker = self._open(result)
        with StopRequest(alone=self.processes.alone) as stop:
            try:
                with self.budget.running(), stop.at_once():
                    train = self._encode(pairs, "trunk")
                with stop.at_once():
                    test = self._encode(held_out, "trunk-held-out")
                    if not result.looks:
                        check_start(self.split, train, self.batch_tokens, self.processes)
                self._take_steps(train, test, held_out, pairs, result, stop)
            except KeyboardInterrupt:
                if result.steps and self.checkpoints.current != result.steps and not stop.hurried:
                    self._save(result, sound=False)  # where a look is due, the next call takes it first
                self._tracker.close()
                raise
        self._tracker.close()
        self._restore_best(result)
        train.data.clear()
        test.data.clear()
        self._encoded = (pairs_fingerprint(held_out), test) if test.data.in_memory else None
        return result

    def _take_steps(
        self,
        train: EncodedPairs,
        test: EncodedPairs,
        held_out: Sequence[PreferencePair],
        pairs: Sequence[PreferencePair],
        result: DPOResult,
        stop: StopRequest,
    ) -> None:
        steps_per_epoch = -(-len(pairs) // self.config.batch_size)
        total = steps_per_epoch * self.config.epochs
        looks = {round(total * (look + 1) / self.config.evaluations) for look in range(self.config.evaluations)} - {0}
        with self.progress.task("DPO", total) as task:
            task.advance(result.steps)
            while True:
                before = result.steps
                try:
                    if self._look_is_due(result, looks):
                        self._look(test, held_out, result, stop)
                        self._save(result, sound=True)
                    if result.steps >= total or result.stopped is not None:
                        break
                    with self.budget.running():
                        figures = self._step(train, before, total, stop)
                except Refused as refused:
                    self._tracker.close()
                    self._take_back(refused, pairs, result, before)
                    task.advance(result.steps - before)
                    self._tracker = self._open(result)
                    continue
                result.steps += 1
                self._tracker.log(figures, result.steps)
                task.advance(1, loss=figures["loss"], accuracy=figures["accuracy"])
                if self.processes.any(self.budget.over) and result.steps < total:
                    result.stopped = f"its {self.budget.seconds:.0f} seconds were spent at step {result.steps}"
                if self.processes.any(stop.requested):
                    raise KeyboardInterrupt
                if self.checkpoints.due:
                    self._save(result, sound=False)

    @staticmethod
    def _look_is_due(result: DPOResult, looks: set[int]) -> bool:
        """Say whether held-out pairs are looked at here and haven't been: an interrupt may have come before."""
        looked = result.looks[-1]["step"] if result.looks else -1
        return looked < result.steps and (result.steps in looks or not result.steps or result.stopped is not None)

    def _check(self, pairs: Sequence[PreferencePair], held_out: Sequence[PreferencePair]) -> None:
        if not pairs:
            raise UserError("DPO needs preference pairs, found none; run the stage preferences first")
        if not held_out:
            raise UserError("DPO needs held-out pairs, found none; raise data.validation_share")
        fewest = min(len(pairs), len(held_out))
        if fewest < self.processes.count:
            raise UserError(f"{fewest} preference pairs for {self.processes.count} processes; launch fewer")

    def _step(self, train: EncodedPairs, step: int, total: int, stop: StopRequest) -> dict[str, float]:
        chosen = self._chosen(train.count, step)
        with stop.at_once():
            figures = self.gradients(train, chosen)
        spent = self.processes.from_main(lambda: self.budget.share)  # each has a clock of its own
        left = 1 - max(step / total, spent)  # linear decay: a short run ends settled
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * left * self.stability.factor
        self.processes.sum_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm, foreach=True)
        figures = self.processes.totals(figures)
        try:
            self.stability.check(figures["loss"], float(norm))
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return figures

    def _chosen(self, count: int, step: int) -> list[int]:
        """Return the pairs of a step: a function of seed and step alone, so a resumed run sees the same ones."""
        epoch, within = divmod(step, -(-count // self.config.batch_size))
        order = list(range(count))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        return in_turn(order)[within * self.config.batch_size : (within + 1) * self.config.batch_size]

    def _take_back(self, refused: Refused, pairs: Sequence[PreferencePair], result: DPOResult, step: int) -> None:
        """Go back to the last sound checkpoint; the seconds that were spent since then stay spent."""

        def rows() -> str:
            return f"the pairs {told_rows([pairs[place].origin for place in self._chosen(len(pairs), step)])}"

        spent = self.budget.spent
        self._restore(
            self.stability.take_back(refused, result.steps, self.checkpoints, rows, self.progress.say), result
        )
        self.budget.spent = spent

    def gradients(self, train: EncodedPairs, chosen: Sequence[int]) -> dict[str, float]:
        """Add the gradients of the mean loss over pairs; returns `FIGURES`, means over the pairs.

        With more than one process, each does this for the pairs it owns; gradients and figures are to be summed.
        """
        sums = dict.fromkeys(FIGURES, 0.0)
        parts = train.data.buckets(train.units(chosen), self.batch_tokens)  # chosen and rejected in turn
        for numbers, factor in self.processes.evenly(parts, lambda: list(train.units(range(train.count))[0])):
            trunk = train.data.batch(numbers)
            losses, figures = pair_losses(self.split, self.config, trunk, train.reference[numbers])
            share = factor * len(losses) / len(chosen)
            (losses.mean() * share).backward()
            for name, values in figures.items():
                sums[name] += float(values.mean()) * share
            if self.meter:
                self.meter.add(tokens_trained=int((trunk.rows.segments >= 0).sum()))
        return sums

    def _encode(self, pairs: Sequence[PreferencePair], folder: str) -> EncodedPairs:
        return encode_pairs(
            self.split,
            self.prompts,
            pairs,
            self.processes,
            self.processes.folder(self.directory / folder),
            self.progress,
            self.batch_tokens,
        )

    def _look(self, test: EncodedPairs, pairs: Sequence[PreferencePair], result: DPOResult, stop: StopRequest) -> None:
        """Judge the policy on held-out pairs; the look with the lowest loss is the best, the start doesn't count."""
        with stop.at_once():
            figures = look_figures(self._judge(test), pairs)
        self.stability.check_held_out(figures["loss"], "the held-out pairs")
        result.looks.append({"step": result.steps, "seconds": self.budget.spent, **figures})
        self._log_look(result, self._tracker)
        trained = [look for look in result.looks if look["step"] > 0]
        if trained:
            result.best_step = int(min(trained, key=lambda look: look["loss"])["step"])

    def _open(self, result: DPOResult) -> Tracker:
        tracker = self.open_tracker(result.steps)
        if result.looks and not result.steps:  # the curves on disk begin anew
            self._log_look(result, tracker)
        return tracker

    @staticmethod
    def _log_look(result: DPOResult, tracker: Tracker) -> None:
        look = result.looks[-1]
        told = {f"held_out_{name}": value for name, value in look.items() if name not in ("step", "seconds")}
        tracker.log(told, int(look["step"]))

    @torch.no_grad()
    def _judge(self, test: EncodedPairs) -> list[PairLikelihood]:
        """Return how likely each pair's replies are, in the order of the pairs."""
        found: dict[int, PairLikelihood] = {}
        with self.processes.whole(self.split.backbone):
            for numbers in test.data.buckets(test.units(range(test.count)), self.batch_tokens):
                trunk = test.data.batch(numbers)
                _, figures = pair_losses(self.split, self.config, trunk, test.reference[numbers])
                lengths = trunk.rows.lengths
                for place, pair in enumerate(numbers[0::2]):
                    before = test.reference[[pair, test.count + pair]].tolist()
                    found[pair] = PairLikelihood(
                        loss=float(figures["loss"][place]),
                        lead=float(figures["lead"][place]),
                        chosen=float(figures["chosen_logprob"][place]),
                        rejected=float(figures["rejected_logprob"][place]),
                        ref_chosen=before[0] / lengths[2 * place],
                        ref_rejected=before[1] / lengths[2 * place + 1],
                    )
        return self.processes.in_order([found[pair] for pair in self.processes.own(range(test.count))])

    def evaluate(self, pairs: Sequence[PreferencePair], bootstrap_samples: int = 1000) -> dict[str, Any]:
        """Judge the policy as it is now on held-out pairs: see `preference_report.report`."""
        kept = self._encoded if self._encoded and self._encoded[0] == pairs_fingerprint(pairs) else None
        test = kept[1] if kept else self._encode(pairs, "trunk-held-out")
        figures = report(pairs, self._judge(test), bootstrap_samples, self.seed)
        test.data.clear()
        return figures

    def _save(self, result: DPOResult, *, sound: bool) -> None:
        self.processes.align(self.parameters)
        moments, groups = optimizer_tensors(self.optimizer)
        result.seconds = self.budget.spent
        tensors = {"policy": self.split.branch_tensors(POLICY), "optimizer": moments}
        state = {
            "optimizer": groups, "pairs": self._marks, "result": asdict(result), "stability": self.stability.state(),
        }  # fmt: skip
        best = bool(result.looks) and result.looks[-1]["step"] == result.steps == result.best_step > 0
        self.checkpoints.save(result.steps, tensors, state, best=best, sound=sound)

    def _resume(self, result: DPOResult) -> None:
        saved = self.checkpoints.load_last()
        if saved is None:
            return
        if saved.state["pairs"] != self._marks:
            raise UserError(
                f"{self.directory}: an interrupted DPO on other preference pairs; take them, or start over with --redo"
            )
        self.stability.restore(saved.state.get("stability"))
        self._restore(saved, result)

    def _restore(self, saved: Checkpoint, result: DPOResult) -> None:
        self.split.restore_branch(POLICY, saved.tensors["policy"])
        restore_optimizer(self.optimizer, saved.tensors["optimizer"], saved.state["optimizer"])
        for name, value in saved.state["result"].items():
            setattr(result, name, value)
        result.rollbacks = self.stability.rollbacks
        self.budget.spent = result.seconds

    def _restore_best(self, result: DPOResult) -> None:
        result.seconds = self.budget.spent
        best = self.checkpoints.load_best()
        if best is not None:
            self.split.restore_branch(POLICY, best.tensors["policy"])
            result.best_step = best.step
