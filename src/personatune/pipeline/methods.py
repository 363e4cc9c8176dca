"""Every way to a better policy on equal terms: the same SFT checkpoint, the same preferences, the same seconds.

Each method is trained under ``methods/<name>/seed-<n>`` and judged on what the stage evaluate judges on. A finished
seed of a method is kept, so an interrupted comparison goes on with the next one.

Seconds are those of training: for a method that asks the reward model, the reward model's own stage is in them. Judging
counts on no side. What a method costs at chat time stands beside it, as seconds and tokens a reply.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from personatune.costs.meter import MetricsTracker
from personatune.dialogue import Context, Respond
from personatune.errors import UserError, did_you_mean
from personatune.evaluation.suite import evaluate_model
from personatune.model.generation import Chatbot, Sampling
from personatune.pipeline.claims import claimed
from personatune.pipeline.conduct import run_variant
from personatune.pipeline.judging import Judges, find_judges
from personatune.pipeline.method_table import summarise
from personatune.pipeline.models import load_model, load_prompts
from personatune.pipeline.reply_strategies import split_strategy, strategic
from personatune.pipeline.run import Run
from personatune.pipeline.run_judging import run_test_set
from personatune.pipeline.variants import Variant, sha256_of
from personatune.progress import Progress
from personatune.settings import Config
from personatune.storage import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = "methods"
LONG = 100_000
"""Updates of a method that its budget ends, not their number."""


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    Attributes:
        trains: the stage whose function trains it; None: the SFT model as it is.
        advantages: of a policy-gradient method.
        strategy: how replies are chosen, behind the model's name ("+critic").
        rewarded: whether it asks the reward model.
        draws: whether another seed gives another result.
    """

    trains: Literal["dpo", "ppo"] | None = None
    advantages: Literal["gae", "rloo", "grpo"] = "gae"
    strategy: str = ""
    rewarded: bool = False
    draws: bool = True


METHODS: dict[str, Method] = {
    "sft": Method(draws=False),
    "dpo": Method("dpo"),
    "ppo": Method("ppo", "gae", rewarded=True),
    "rloo": Method("ppo", "rloo", rewarded=True),
    "grpo": Method("ppo", "grpo", rewarded=True),
    "best-of-8": Method(strategy="+best-of-8", rewarded=True),
    "critic": Method(strategy="+critic"),
}


def compare_methods(
    run: Run,
    names: Sequence[str],
    progress: Progress,
    *,
    seeds: int = 3,
    seconds: float | None = None,
    despite_memory: bool = False,
    despite_reward: bool = False,
    redo: bool = False,
) -> dict[str, Any]:
    """Train and judge methods and return what ``methods/comparison.json`` holds (see `method_table.summarise`).

    Args:
        seconds: of training that each method may spend; by default what the run's reward model and PPO took together.
        despite_reward: ask even a reward model that fails its own report.
        redo: forget what earlier calls kept of these methods.

    Raises:
        UserError: an unknown method, a stage that is missing, or a budget that the reward model alone has spent.
        KeyboardInterrupt: Ctrl-C; what was reached is kept.
    """
    chosen = [_method(name) for name in names]
    with claimed(run.directory):
        return _compare(
            run,
            chosen,
            progress,
            seeds,
            seconds,
            redo,
            despite_memory=despite_memory,
            despite_reward=despite_reward,
        )


def _compare(
    run: Run,
    chosen: Sequence[tuple[str, Method]],
    progress: Progress,
    seeds: int,
    seconds: float | None,
    redo: bool,
    **despite: bool,
) -> dict[str, Any]:
    run.require("compare-methods", "sft", "preferences", *(["reward"] if any(m.rewarded for _, m in chosen) else []))
    seconds = seconds if seconds is not None else _default_seconds(run)
    _check_budget(run, chosen, seconds)
    judges = find_judges(run.config.evaluation.judge)
    judge = judges.to_json()["judge"]
    rows, dialogues = [], []
    for name, method in chosen:
        for number in range(seeds if method.draws else 1):
            seed = run.config.seed + number
            if redo:
                run.forget(f"{FOLDER}/{name}/seed-{seed}")
            place = run.folder(f"{FOLDER}/{name}/seed-{seed}") / "result.json"
            head = {**_stands_on(run, method), "seconds": seconds if method.trains else None, "judge": judge}
            known = read_json(place) if place.is_file() else {}
            if known.get("head") != head:
                trained = _train(run, name, method, seed, seconds, progress, **despite)
                known = {"head": head, **_judge(run, name, method, seed, trained, judges, progress)}
                write_json(place, known)
                gc.collect()
            rows.append(known["row"])
            dialogues.append(known["dialogues"])
    comparison = {
        "run": run.name,
        "seconds": seconds,
        "seeds": seeds,
        "judges": judges.to_json(),
        **summarise(rows, dialogues, run.config.evaluation.bootstrap_samples, run.config.seed),
    }
    write_json(run.folder(FOLDER) / "comparison.json", comparison)
    return comparison


def _method(name: str) -> tuple[str, Method]:
    if name not in METHODS:
        raise UserError(f"--method {name}: expected one of {', '.join(METHODS)}{did_you_mean(name, METHODS)}")
    return name, METHODS[name]


def _default_seconds(run: Run) -> float:
    costs = MetricsTracker(run.directory / "costs.jsonl").costs()
    if not {"reward", "ppo"} <= set(costs) or "ppo" not in run.finished():
        raise UserError(
            f"compare-methods of run {run.name} takes what its reward model and PPO took as the budget, and PPO isn't "
            "done; say how many seconds each method may train: --budget SECONDS"
        )
    return costs["reward"].wall_seconds + costs["ppo"].wall_seconds


def _check_budget(run: Run, chosen: Sequence[tuple[str, Method]], seconds: float) -> None:
    needy = [name for name, method in chosen if method.rewarded and method.trains]
    spent = _reward_seconds(run) if needy else 0.0
    if spent >= seconds:
        raise UserError(
            f"--budget {seconds:g}: the reward model alone took {spent:.0f} s, which leaves nothing for "
            f"{', '.join(needy)}; give more, or leave them out with --method"
        )


def _reward_seconds(run: Run) -> float:
    return MetricsTracker(run.directory / "costs.jsonl").costs()["reward"].wall_seconds


def _stands_on(run: Run, method: Method) -> dict[str, str]:
    """Return what makes a kept result another's."""
    stages = ["sft", "reward"] if method.rewarded else ["sft"]
    folders = {"sft": "adapter", "reward": "branch"}
    return {stage: sha256_of(run.folder(stage) / folders[stage] / "adapter_model.safetensors") for stage in stages}


def _train(run: Run, name: str, method: Method, seed: int, seconds: float, progress: Progress, **despite: bool) -> str:
    """Train a method unless it is done; returns the name of its model in the run."""
    if method.trains is None:
        return "sft"
    variant = f"{FOLDER}/{name}/seed-{seed}"
    left = seconds - (_reward_seconds(run) if method.rewarded else 0.0)
    config = _settings(run.config, method, seed)
    progress.say(f"{name}, seed {seed}: {left:.0f} s")
    run_variant(run, Variant(method.trains, variant, config, seconds=left), progress, **despite)
    return variant


def _settings(config: Config, method: Method, seed: int) -> Config:
    """Return the run's settings with a method's; the budget ends policy-gradient methods, the epochs DPO at latest."""
    changes: dict[str, Any] = {"seed": seed}
    if method.trains == "ppo":
        replies = max(2, config.ppo.replies_per_prompt)  # the same for all of them: groups need two
        updates: dict[str, Any] = {"advantages": method.advantages, "updates": LONG, "replies_per_prompt": replies}
        changes["ppo"] = config.ppo.model_copy(update=updates)
    return config.model_copy(update=changes)


def _judge(
    run: Run, name: str, method: Method, seed: int, model: str, judges: Judges, progress: Progress
) -> dict[str, Any]:
    """Judge a trained method as the stage evaluate does; returns its row and the whole evaluation."""
    config = run.config
    loaded, prompts = load_model(run, model), load_prompts(config)
    bot = _Watched(_chatbot(run, loaded, prompts, method, seed))
    kept = run.folder(f"{FOLDER}/{name}/seed-{seed}") / "judge.json"
    evaluation = evaluate_model(
        f"{name}, seed {seed}",
        loaded,
        prompts,
        run_test_set(run),
        config.evaluation,
        seed=config.seed,
        judge=judges.evaluator(kept, config.evaluation.bootstrap_samples, config.seed, progress),
        why_no_judge=judges.why_no_judge,
        encoder=judges.encoder,
        why_no_encoder=judges.why_no_encoder,
        progress=progress,
        bot=bot,
    )
    kept.unlink(missing_ok=True)
    reward_seconds = _reward_seconds(run) if method.rewarded else 0.0
    summary = dict(read_json(run.directory / model / "summary.json")) if method.trains else {}
    costs = MetricsTracker(run.directory / "costs.jsonl").costs()
    row = {
        "method": name,
        "seed": seed,
        "training_seconds": summary.get("seconds", 0.0),
        "reward_model_seconds": reward_seconds,
        "steps": summary.get("steps") or summary.get("updates"),
        "kept_step": summary.get("best_step") or summary.get("best_update"),
        "stopped": summary.get("stopped"),
        "peak_memory_bytes": costs[model].peak_memory_bytes if method.trains else None,
        "seconds_per_reply": bot.seconds / bot.replies,
        "tokens_per_reply": bot.tokens_generated / bot.replies,
        "decoding": evaluation["decoding"],
        "metrics": evaluation["metrics"],
        "absent": evaluation["absent"],
    }
    return {"row": row, "dialogues": evaluation["dialogues"]}


def _chatbot(run: Run, model: PreTrainedModel, prompts: Any, method: Method, seed: int) -> Chatbot:
    settings = run.config.evaluation
    sampling = Sampling(
        settings.max_new_tokens, settings.temperature, settings.repetition_penalty, settings.no_repeat_ngram
    )
    bot = Chatbot(model, prompts, sampling, batch_size=settings.batch_size, seed=seed)
    _, strategy = split_strategy(f"sft{method.strategy}")
    return bot if strategy is None else strategic(bot, strategy, run, seed=seed)


class _Watched:
    """A chatbot whose seconds and replies are counted."""

    def __init__(self, bot: Chatbot) -> None:
        self._bot = bot
        self.seconds = 0.0
        self.replies = 0

    @property
    def tokens_generated(self) -> int:
        return self._bot.tokens_generated

    @property
    def decoding(self) -> dict[str, Any]:
        return self._bot.decoding

    def __call__(self, contexts: Sequence[Context]) -> list[str]:
        return self._timed(self._bot, contexts)

    def in_dialogues(self) -> Respond:
        return partial(self._timed, self._bot.in_dialogues())

    def _timed(self, respond: Respond, contexts: Sequence[Context]) -> list[str]:
        begun = time.perf_counter()
        replies = respond(contexts)
        self.seconds += time.perf_counter() - begun
        self.replies += len(replies)
        return replies
