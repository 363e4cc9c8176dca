"""PPO for characters: update after update near the reference, judged from outside, resumable.

Policy, critic and reward are branches on one backbone; the reference is the backbone itself. What one update does
stands in `ppo_update`. The run stops when the KL budget is spent, or when an alarm says so (`alarms`).

An independent judge, which the reward model never saw, looks on every few updates and decides which
checkpoint is the best.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from personatune.costs.flops import ppo_flops
from personatune.costs.meter import StageMeter
from personatune.dialogue import Context, Episode
from personatune.errors import UserError
from personatune.model import prompts as prompt_forms
from personatune.model.branches import SplitModel
from personatune.model.prompts import PromptFormat
from personatune.model.work import branch_work
from personatune.progress import Progress, SilentProgress
from personatune.settings import PPOConfig
from personatune.training import rl_math
from personatune.training.alarms import listen
from personatune.training.budget import Budget
from personatune.training.checkpoints import Checkpoint, optimizer_tensors, restore_optimizer
from personatune.training.distributed import join_processes
from personatune.training.divergence import SMALLER, Refused, Stability, told_rows
from personatune.training.identity import model_mark, rows_mark
from personatune.training.interrupts import StopRequest
from personatune.training.ppo_result import PPOResult
from personatune.training.ppo_update import Experience, PPOUpdate
from personatune.training.reward import RewardModel
from personatune.training.rollouts import CRITIC, POLICY
from personatune.training.tracking import SilentTracker, Tracker, worth_sampling

_State = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]
"""The tensors and the rest of a checkpoint."""


class PPOTrainer:
    """Optimises the policy branch against the reward model; `train` runs or resumes it.

    Args:
        split: the backbone with the trained reward branch; policy and critic are added here.
        contexts: what to answer, or the conversations to hold; drawn in whole shuffled passes, again and again.
        judge: returns the independent judge's figure (0 to 1) for the policy as it is now; every process calls it and
            must get the same figure.
        budget: seconds of training that may be spent, the judge's apart; by default the updates alone say when it ends.
        open_tracker: given the update it resumes at, returns where figures go.
    """

    parse_prompt = staticmethod(prompt_forms.parse_prompt)
    compute_rewards = staticmethod(rl_math.compute_rewards)

    def __init__(
        self,
        split: SplitModel,
        prompts: PromptFormat,
        reward: RewardModel,
        contexts: Sequence[Context | Episode],
        config: PPOConfig,
        directory: Path,
        *,
        judge: Callable[[], float],
        seed: int = 0,
        budget: Budget | None = None,
        open_tracker: Callable[[int], Tracker] = lambda _step: SilentTracker(),
        progress: Progress | None = None,
        meter: StageMeter | None = None,
    ) -> None:
        if not contexts:
            raise UserError("PPO needs contexts to answer, found none; run the stage preferences first")
        if config.turns_per_episode > 1 and not any(isinstance(one, Episode) and one.lines for one in contexts):
            raise UserError(
                f"ppo.turns_per_episode = {config.turns_per_episode}, but no prompt has a later line of the partner's; "
                "run the stage preferences again with this setting, or set it to 1"
            )
        self.split = split
        self.contexts = list(contexts)
        self.config = config
        self.judge = judge
        self.seed = seed
        self.budget = budget or Budget()
        self.open_tracker = open_tracker
        self.progress = progress or SilentProgress()
        self.meter = meter
        self.processes = join_processes()
        if config.prompts_per_update < self.processes.count:
            raise UserError(
                f"ppo.prompts_per_update = {config.prompts_per_update} for {self.processes.count} processes: expected "
                f"a prompt for each at least; raise it or launch fewer"
            )
        identity = {
            "stage": "ppo",
            "seed": seed,
            "model": model_mark(split.backbone),
            "settings": config.model_dump(mode="json", exclude={"on_untrusted_reward"}),
            "data": rows_mark(one.to_json() for one in contexts),
            "critic_layers": None if split.critic_layers == split.top_layers else split.critic_layers,
        }
        self.step = PPOUpdate(split, prompts, reward, config, seed=seed, folder=directory / "trunk")
        self.work = branch_work(split, POLICY)
        self.critic_work = branch_work(split, CRITIC) if self.step.has_critic else None
        setting = f"ppo.policy_learning_rate {config.policy_learning_rate:g}"
        self.stability = Stability("PPO", setting, unit="update")
        self.checkpoints = self.processes.checkpoints(
            directory / "checkpoints", identity=identity, say=self.progress.say
        )

    def train(self) -> PPOResult:
        """Run all updates, or until the KL budget is spent; the policy branch ends at the best judged checkpoint.

        Raises:
            DivergedError: something was not finite or exploded, and did so again after going back once.
            KeyboardInterrupt: Ctrl-C; the last whole update was saved, the next call goes on there.
            RuntimeError: a step-0 self-check failed (a defect of the program or an unsupported model, not of the data).
        """
        result = PPOResult()
        update = self._resume(result)
        tracker = self._open(update, result)
        before: _State | None = None
        with (
            StopRequest(alone=self.processes.alone) as stop,
            self.progress.task("PPO", self.budget.units(self.config.updates)) as task,
        ):
            task.advance(update if self.budget.seconds is None else self.budget.passed())
            try:
                while True:
                    if self._judge_is_due(result, update):
                        self._judge(result, update, tracker, stop)
                        self._save(update, result, self._state(result), sound=True)
                    if update >= self.config.updates or result.stopped is not None:
                        break
                    if self.processes.alone:  # an update that is cut off has moved weights already
                        before = _copied(self._state(result))
                    try:
                        with self.budget.running(), stop.at_once():
                            experience, metrics = self._update(result, update)
                    except Refused as refused:
                        tracker.close()
                        before, back = None, self._take_back(refused, result, update)
                        task.advance(back - update if self.budget.seconds is None else 0)
                        update = back
                        tracker = self._open(update, result)
                        continue
                    before = None
                    self._count(experience)
                    update += 1
                    self._note(result, update, metrics, experience, tracker)
                    task.advance(self.budget.passed(), reward=metrics["score"], kl=metrics["kl"])
                    if self.processes.any(stop.requested):
                        raise KeyboardInterrupt
                    if self.checkpoints.due:
                        self._save(update, result, self._state(result), sound=False)
            except KeyboardInterrupt:
                if update and self.checkpoints.current != update and not stop.hurried:
                    self._save(update, result, before or self._state(result), sound=False)
                tracker.close()
                raise
        tracker.close()
        self._restore_best(result)
        return result

    def _note(
        self, result: PPOResult, update: int, metrics: dict[str, float], experience: Experience, tracker: Tracker
    ) -> None:
        """Write an update's figures down, and whether the run ends with it."""
        result.metrics.append(metrics)
        tracker.log(metrics, update)
        if worth_sampling(update):
            tracker.samples("rollouts", _rollout_samples(experience), update)
        if metrics["kl"] > self.config.kl_budget:
            result.stopped = f"KL {metrics['kl']:.2f} nats a reply at update {update} spent the budget"
        elif self.processes.any(self.budget.over) and update < self.config.updates:
            result.stopped = f"its {self.budget.seconds:.0f} seconds were spent at update {update}"
        self._heed_alarms(result)

    def _judge_is_due(self, result: PPOResult, update: int) -> bool:
        """Say whether the judge looks at this update and hasn't yet: an interrupt may have come before it could."""
        looked = result.judged[-1]["update"] if result.judged else -1
        asked = update % self.config.judge_every == 0 or update == self.config.updates or result.stopped is not None
        return looked < update and asked

    def _open(self, update: int, result: PPOResult) -> Tracker:
        tracker = self.open_tracker(update)
        if result.judged and not update:  # the curves on disk begin anew
            tracker.log({"judge": result.judged[0]["judge"]}, 0)
        return tracker

    def _update(self, result: PPOResult, update: int) -> tuple[Experience, dict[str, float]]:
        experience = self.step.collect(self._contexts_of(update), update)
        try:
            if update == 0:
                result.self_checks = self.step.self_check(experience)
            return experience, self.step.improve(experience, update)
        finally:
            experience.rollouts.trunk.clear()

    def _take_back(self, refused: Refused, result: PPOResult, update: int) -> int:
        """Go back to the last sound checkpoint; the seconds that were spent since then stay spent."""

        def rows() -> str:
            lines = [one.context if isinstance(one, Episode) else one for one in self._contexts_of(update)]
            return f"replies to {told_rows([repr(context.history[-1].text[:60]) for context in lines])}"

        spent = self.budget.spent
        sound = self.stability.take_back(refused, update, self.checkpoints, rows, self.progress.say)
        back = self._restore(sound, result)
        self.step.slow_down(SMALLER)
        self.budget.spent = spent
        return back

    def _contexts_of(self, update: int) -> list[Context | Episode]:
        """Return an update's contexts: passes over all of them in seeded order, so a resumed run sees the same ones."""
        count = self.config.prompts_per_update
        chosen = []
        for position in range(update * count, (update + 1) * count):
            turn, place = divmod(position, len(self.contexts))
            order = list(range(len(self.contexts)))
            random.Random(f"{self.seed}/{turn}").shuffle(order)
            chosen.append(self.contexts[order[place]])
        return chosen

    def _count(self, experience: Experience) -> None:
        if self.meter:
            rollouts = experience.rollouts
            rows = [piece.sizes for piece in rollouts.trunk.pieces]
            self.meter.add(
                flops=ppo_flops(self.work, self.critic_work, rows, self.config.epochs),
                tokens_trained=rollouts.trunk.tokens * self.config.epochs,
                tokens_generated=int(rollouts.mask[list(rollouts.trunk.piece_of)].sum()),
            )

    def _judge(self, result: PPOResult, update: int, tracker: Tracker, stop: StopRequest) -> None:
        with stop.at_once(), self.processes.whole(self.split.backbone):
            figure = self.judge()
        result.judged.append({"update": update, "judge": figure})
        tracker.log({"judge": figure}, update)
        trained = [look for look in result.judged if look["update"] > 0]
        if trained:
            result.best_update = int(max(trained, key=lambda look: (look["judge"], look["update"]))["update"])
        self._heed_alarms(result)

    def _heed_alarms(self, result: PPOResult) -> None:
        """Note the alarms that sound now and do what they ask for: every process hears the same ones."""
        for alarm in listen(self.config.alarms, result.metrics, result.judged, result.alarms):
            cooled_now = any(one["action"] == "cool" and one["update"] == alarm.update for one in result.alarms)
            if alarm.action == "cool" and not cooled_now:
                self.step.cool()
            if alarm.action == "stop" and result.stopped is None:
                result.stopped = f"{alarm.name} alarm at update {alarm.update}: {alarm.why}"
            result.alarms.append(alarm.to_json())
            result.warnings.append(str(alarm))
            self.progress.say(f"PPO: {alarm}")

    def _state(self, result: PPOResult) -> _State:
        """Return what a checkpoint of the last whole update holds beside its figures; the tensors are no copies."""
        self.processes.align([*self.step.policy_parameters, *self.step.critic_parameters])
        policy, policy_groups = optimizer_tensors(self.step.policy_optimizer)
        tensors = {"policy": self.split.branch_tensors(POLICY), "policy_optimizer": policy}
        result.seconds = self.budget.spent
        state = {
            "policy_optimizer": policy_groups,
            "kl_coef": self.step.kl.coef,
            "stability": self.stability.state(),
        }
        if self.step.critic_optimizer is not None:
            tensors["critic"] = self.split.branch_tensors(CRITIC)
            tensors["critic_optimizer"], state["critic_optimizer"] = optimizer_tensors(self.step.critic_optimizer)
        return tensors, state

    def _save(self, update: int, result: PPOResult, state: _State, *, sound: bool) -> None:
        tensors, rest = state
        best = result.best_update == update > 0
        self.checkpoints.save(update, tensors, {**rest, "result": asdict(result)}, best=best, sound=sound)

    def _resume(self, result: PPOResult) -> int:
        saved = self.checkpoints.load_last()
        if saved is None:
            return 0
        self.stability.restore(saved.state.get("stability"))
        return self._restore(saved, result)

    def _restore(self, saved: Checkpoint, result: PPOResult) -> int:
        self.split.restore_branch(POLICY, saved.tensors["policy"])
        restore_optimizer(
            self.step.policy_optimizer, saved.tensors["policy_optimizer"], saved.state["policy_optimizer"]
        )
        if self.step.critic_optimizer is not None:
            self.split.restore_branch(CRITIC, saved.tensors["critic"])
            restore_optimizer(
                self.step.critic_optimizer, saved.tensors["critic_optimizer"], saved.state["critic_optimizer"]
            )
        self.step.kl.coef = saved.state["kl_coef"]
        for name, value in saved.state["result"].items():
            setattr(result, name, value)
        result.rollbacks = self.stability.rollbacks
        self.budget.spent = result.seconds
        return saved.step

    def _restore_best(self, result: PPOResult) -> None:
        result.seconds = self.budget.spent
        best = self.checkpoints.load_best()
        if best is not None:
            self.split.restore_branch(POLICY, best.tensors["policy"])
            result.best_update = best.step


def _copied(state: _State) -> _State:
    tensors, rest = state
    return {group: {name: one.clone() for name, one in named.items()} for group, named in tensors.items()}, rest


def _rollout_samples(experience: Experience) -> list[dict[str, str]]:
    rollouts = experience.rollouts
    return [
        {
            "persona": " ".join(rollouts.contexts[row].persona.traits),
            "line": rollouts.contexts[row].history[-1].text,
            "reply": rollouts.texts[row],
            "score": f"{float(experience.scores[row]):.2f}",
        }
        for row in range(min(2, len(rollouts)))
    ]
