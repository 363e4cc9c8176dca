"""What each stage of a run does: reads the files of the stages before, writes its own, returns its key figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.costs.meter import MetricsTracker, StageMeter
from personatune.data.preferences import PreferenceGenerator
from personatune.data.processing import DataProcessor, PreparedData
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Context, Episode, PreferencePair, Turn
from personatune.errors import UserError
from personatune.evaluation.suite import probe_scripts
from personatune.judging.probes import hold_dialogues
from personatune.model.branches import SplitModel
from personatune.model.generation import Chatbot, Sampling
from personatune.model.lora import join_adapters
from personatune.pipeline.comparison import compare_fine_tuning
from personatune.pipeline.kept_work import KeptSamples
from personatune.pipeline.models import ModelName, load_base, load_model, load_prompts
from personatune.pipeline.own_dialogues import own_dialogues, own_pairs, own_votes
from personatune.pipeline.reward_trust import require_trust
from personatune.pipeline.run import Run
from personatune.pipeline.run_judging import judge_model, made_from
from personatune.pipeline.variants import Variant
from personatune.progress import Progress
from personatune.report.build import build_report
from personatune.report.tracked import track_report
from personatune.settings import Config
from personatune.storage import read_json, read_jsonl, write_json, write_jsonl
from personatune.training.distributed import Processes
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import RewardModel, RewardModelTrainer
from personatune.training.reward_report import checks
from personatune.training.rollouts import POLICY
from personatune.training.sft import SFTTrainer
from personatune.training.tracking import ReportTracker, SilentTracker, open_tracker


@dataclass(frozen=True)
class Stage:
    """What a stage works with. Of the processes that run it together, the main one alone writes its files.

    Attributes:
        variant: what makes it one of several trainings of this kind; ``run.config`` holds its settings.
        despite_reward: PPO starts even on a reward model that fails its own report.
    """

    run: Run
    name: str
    meter: StageMeter
    costs: MetricsTracker
    progress: Progress
    processes: Processes
    variant: Variant | None = None
    despite_reward: bool = False

    @property
    def folder(self) -> Path:
        return self.run.folder(self.name)

    def tracker(self, step: int) -> ReportTracker:
        """Open where this stage's figures go, resuming at ``step``."""
        if not self.processes.main:
            return SilentTracker()
        config = self.run.config
        return open_tracker(
            self.folder,
            config.tracking,
            run=self.run.name,
            stage=self.name,
            resume_step=step,
            config=config.model_dump(mode="json"),
        )


def prepare(stage: Stage) -> dict[str, Any]:
    """Load, clean and split the dialogues; make sure that the base model is there."""
    config = stage.run.config
    with stage.progress.task("Preparing data and model", 3) as task:
        loader = DatasetLoader(config.data.source, fraction=config.data.fraction, seed=config.seed)
        reading = loader.stream()
        task.advance()
        written = own_dialogues() if config.data.written != 0 else ()
        sizes = DataProcessor(config.data, config.seed).process_into(stage.folder, reading, written)
        task.advance()
        load_prompts(config)
        load_base(config)
        task.advance()
    return sizes


def baseline(stage: Stage) -> dict[str, Any]:
    """Judge the untouched model."""
    stage.run.require(stage.name)
    return _judge(stage, "base", stage.folder / "evaluation.json")


def sft(stage: Stage) -> dict[str, Any]:
    """Fine-tune the base model with LoRA on the training dialogues."""
    stage.run.require(stage.name)
    config = stage.run.config
    data = PreparedData.load(stage.run.folder("prepare"))
    trainer = SFTTrainer(
        load_base(config),
        load_prompts(config),
        data.train,
        data.validation,
        config.sft,
        config.lora,
        stage.folder,
        seed=config.seed,
        open_tracker=stage.tracker,
        progress=stage.progress,
        meter=stage.meter,
    )
    assert trainer.wrapper is not None  # LoRA settings were given
    info = trainer.wrapper.get_model_info()
    result = trainer.train()
    if stage.processes.main:
        trainer.wrapper.save(stage.folder / "adapter")
        write_json(stage.folder / "summary.json", {**result.to_json(), "model": info.to_json()})
    return {"held_out_loss": result.best.loss, "steps": result.curve[-1].step}


def preferences(stage: Stage) -> dict[str, Any]:
    """Make preference pairs and PPO prompts from training personas, test pairs from held-out ones."""
    stage.run.require(stage.name)
    config = stage.run.config
    settings = config.preferences
    data = PreparedData.load(stage.run.folder("prepare"))
    votes = own_votes(config, data)
    sampling = Sampling(settings.max_new_tokens, temperature=1.0)
    bot = Chatbot(load_model(stage.run, "sft"), load_prompts(config), sampling, seed=config.seed)
    head = {**made_from(stage.run, "sft", "train", "validation"), "settings": settings.model_dump(mode="json")}
    sample = KeptSamples(bot, stage.folder / UNFINISHED_WORK, head)
    with stage.progress.task("Preference pairs", settings.pairs + settings.test_pairs) as task:
        train, test = (
            PreferenceGenerator(part, settings, config.seed, sample, own_pairs(part, config))
            for part in (data.train, data.validation)
        )
        pairs = train.generate(settings.pairs)
        task.advance(settings.pairs)
        test_pairs = test.test_set(settings.test_pairs)
        task.advance(settings.test_pairs)
    prompts = _ppo_prompts(train, data, config)
    train_pairs, held_out = [*pairs.pairs, *votes.train], [*test_pairs.pairs, *votes.test]
    write_jsonl(stage.folder / "train.jsonl", (pair.to_json() for pair in train_pairs))
    write_jsonl(stage.folder / "test.jsonl", (pair.to_json() for pair in held_out))
    write_jsonl(stage.folder / "prompts.jsonl", (context.to_json() for context in prompts))
    summary = {"train": pairs.to_json(), "test": test_pairs.to_json(), "votes": votes.to_json()}
    write_json(stage.folder / "summary.json", summary)
    stage.meter.add(tokens_generated=bot.tokens_generated)
    return {"pairs": len(train_pairs), "test_pairs": len(held_out), "prompts": len(prompts)}


def reward(stage: Stage) -> dict[str, Any]:
    """Train the reward model and report whether it deserves trust."""
    stage.run.require(stage.name)
    config = stage.run.config
    pairs, test_pairs = (read_pairs(stage.run, name) for name in ("train", "test"))
    split = split_model(stage.run)
    for note in split.notes:  # here alone: PPO's branches are split likewise
        stage.progress.say(note)
    model = RewardModel(split, load_prompts(config), seed=config.seed)
    trainer = RewardModelTrainer(
        model,
        config.reward,
        stage.folder,
        seed=config.seed,
        open_tracker=stage.tracker,
        progress=stage.progress,
        meter=stage.meter,
    )
    trainer.train(pairs)
    with stage.progress.task("Reward model: held-out pairs", 1) as task:
        report = trainer.evaluate(test_pairs, config.evaluation.bootstrap_samples)
        report["checks"] = [check.to_json() for check in checks(report, config.reward.targets)]
        task.advance()
    if stage.processes.main:
        model.save(stage.folder / "branch")
        write_json(stage.folder / "report.json", report)
    return {"accuracy": report["accuracy"]["all"]["value"]}


def ppo(stage: Stage) -> dict[str, Any]:
    """Optimise the policy against the reward model, near the reference, under an independent judge's eye."""
    stage.run.require("ppo")
    config = stage.run.config
    untrusted = require_trust(stage.run, stage.progress, despite=stage.despite_reward)
    split = split_model(stage.run)
    prompts = load_prompts(config)
    model = RewardModel(split, prompts, seed=config.seed)
    model.load(stage.run.folder("reward") / "branch", read_json(stage.run.folder("reward") / "report.json"))
    rows = read_jsonl(stage.run.folder("preferences") / "prompts.jsonl")
    trainer = PPOTrainer(
        split,
        prompts,
        model,
        [Episode.from_json(row) for row in rows],
        config.ppo,
        stage.folder,
        judge=_probe_judge(stage, split, prompts),
        seed=config.seed,
        budget=stage.variant.budget() if stage.variant else None,
        open_tracker=stage.tracker,
        progress=stage.progress,
        meter=stage.meter,
    )
    result = trainer.train()
    if stage.processes.main:
        save_policy(stage, split)
        more = {"kl_budget": config.ppo.kl_budget, "untrusted_reward": untrusted}
        write_json(stage.folder / "summary.json", {**result.to_json(), **more})
    summary = result.to_json()
    return {"updates": summary["updates"], "kl": summary["kl_end"], "stopped": result.stopped}


def evaluate(stage: Stage) -> dict[str, Any]:
    """Judge the SFT model and the PPO model on what the untouched model was judged on."""
    stage.run.require(stage.name)
    figures: dict[str, Any] = {}
    for name in ("sft", "ppo"):
        target = stage.folder / f"{name}.json"
        if not target.is_file():  # an interrupted stage goes on with the next model
            _judge(stage, name, target)
        figures[name] = read_json(target)["metrics"]["probe_consistency"]["value"]
    return figures


def compare(stage: Stage) -> dict[str, Any]:
    """Train every weight of the base model to the held-out loss that LoRA reached, and compare what it took."""
    stage.run.require(stage.name)
    comparison = compare_fine_tuning(
        stage.run, stage.folder, stage.meter, stage.costs, stage.progress, stage.tracker, stage.processes
    )
    return dict(comparison["savings"])


def report(stage: Stage) -> dict[str, Any]:
    """Write report.json, report.md and report.html from what the other stages left."""
    stage.run.require(stage.name, "baseline")
    with stage.progress.task("Report", 1) as task:
        paths = build_report(stage.run.directory)
        tracker = stage.tracker(0)
        track_report(tracker, stage.run.directory, paths)
        tracker.close()
        task.advance()
    return {"report": paths.html.name}


UNFINISHED_WORK = "unfinished"
UNFINISHED = (UNFINISHED_WORK, "checkpoints", "trunk", "trunk-held-out")
"""Folders of a stage that are deleted when it is done."""

TOGETHER = ("sft", "reward", "ppo", "compare")
"""Stages that all processes run together; the others are the main one's."""

STAGE_FUNCTIONS: dict[str, Callable[[Stage], dict[str, Any]]] = {
    "prepare": prepare,
    "baseline": baseline,
    "sft": sft,
    "preferences": preferences,
    "reward": reward,
    "ppo": ppo,
    "evaluate": evaluate,
    "compare": compare,
    "report": report,
}


def _judge(stage: Stage, name: ModelName, target: Path) -> dict[str, Any]:
    result = judge_model(stage.run, name, stage.folder / UNFINISHED_WORK, stage.progress, stage.meter)
    write_json(target, result)
    return {"probe_consistency": result["metrics"]["probe_consistency"]["value"]}


def split_model(run: Run) -> SplitModel:
    """Return the merged SFT model as the backbone of the branches."""
    return SplitModel(load_model(run, "sft"), run.config.branch)


def save_policy(stage: Stage, split: SplitModel) -> None:
    """Write the trained policy: its branch, and joined with SFT's adapter one that stands on the base model."""
    split.save_branch(POLICY, stage.folder / "branch")
    join_adapters(stage.run.folder("sft") / "adapter", stage.folder / "branch", stage.folder / "adapter")


def read_pairs(run: Run, name: str) -> list[PreferencePair]:
    """Return the pairs of the stage preferences, "train" or "test"."""
    rows = read_jsonl(run.folder("preferences") / f"{name}.jsonl")
    return [PreferencePair.from_json(row) for row in rows]


def _ppo_prompts(
    generator: PreferenceGenerator, data: PreparedData, config: Config
) -> Sequence[Context] | Sequence[Episode]:
    """Return what PPO answers: real and probe dialogues of training personas, single turns or conversations."""
    scripts = probe_scripts(data.train, len(data.train), config.evaluation.turns, config.seed)
    turns = config.ppo.turns_per_episode
    if turns > 1:
        return generator.episodes(turns, scripts)
    questions = [
        Context(script.persona, (Turn("partner", line),))
        for script in scripts
        for line, probe in script.lines
        if probe is not None
    ]
    return generator.prompts(probes=questions)


def _probe_judge(stage: Stage, split: SplitModel, prompts: Any) -> Callable[[], float]:
    """Return the independent judge: probe consistency of the policy on personas of the validation split."""
    config = stage.run.config
    data = PreparedData.load(stage.run.folder("prepare"))
    scripts = probe_scripts(data.validation, config.ppo.judge_personas, config.evaluation.turns, config.seed)
    if not scripts:
        raise UserError(
            f"none of {len(data.validation)} validation perspectives has three traits that a probe question fits, so "
            "nothing can judge PPO; give more data or raise data.validation_share"
        )
    sampling = Sampling(config.evaluation.max_new_tokens, no_repeat_ngram=config.evaluation.no_repeat_ngram)
    bot = Chatbot(split.backbone, prompts, sampling, batch_size=config.evaluation.batch_size)

    def judge() -> float:
        own = stage.processes.own(scripts)
        with split.active(POLICY):
            dialogues = hold_dialogues(own, bot.in_dialogues()) if own else []
        verdicts = [verdict for dialogue in dialogues for verdict in dialogue.verdicts if verdict]
        consistent = sum(verdict == "consistent" for verdict in verdicts)
        return stage.processes.total(consistent) / stage.processes.total(len(verdicts))

    return judge
