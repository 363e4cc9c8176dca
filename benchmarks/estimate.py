"""Predicted against measured peak memory: six runs of different size on this machine, each in a fresh process.

Run it with:
    python benchmarks/estimate.py [--only NAME ...]

Each run does one real stage (SFT, reward model, PPO, full fine-tuning) for a few steps through the trainers that
`personatune run` uses, on human dialogues of the installed chitchat-dataset, and reads the process's high-water mark
(`VmHWM`). The prediction is made in the same process before the model is loaded. The models are the embedded
SmolLM2-135M-Instruct and random weights in other shapes: memory doesn't depend on what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from personatune.cli.options import set_up_libraries
from personatune.config import load_config
from personatune.costs.memory import PeakMemory
from personatune.data.preferences import PreferenceGenerator
from personatune.data.processing import DataProcessor
from personatune.data.sources import DatasetLoader
from personatune.dialogue import Context
from personatune.model.backbone import load_tokenizer
from personatune.model.branches import SplitModel
from personatune.pipeline.estimate import measured_lengths, predict, this_machine
from personatune.pipeline.models import load_base, load_prompts
from personatune.training.ppo import PPOTrainer
from personatune.training.reward import RewardModel, RewardModelTrainer
from personatune.training.sft import SFTTrainer
from sides.command import benchmark

TARGET = 0.15


@dataclass(frozen=True)
class Case:
    """One run: a stage, a model (embedded or a shape of random weights) and settings on top of the quick preset."""

    name: str
    stage: str
    model: str
    settings: tuple[str, ...]
    shape: dict[str, Any] = field(default_factory=dict)


_GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}
_WIDE = {
    "model_type": "llama",
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 1408,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
_DEEP = {**_WIDE, "hidden_size": 256, "num_hidden_layers": 20, "num_attention_heads": 4, "intermediate_size": 1024}

CASES = (
    Case("sft, SmolLM2-135M", "sft", "embedded", ("data.max_turns=6", "sft.batch_size=4")),
    Case("sft, GPT-2 124M", "sft", "random", ("data.max_turns=8", "sft.batch_size=4"), _GPT2),
    Case("sft, Llama-like 59M", "sft", "random", ("data.max_turns=24", "sft.batch_size=4"), _WIDE),
    Case("reward, SmolLM2-135M", "reward", "embedded", ("reward.batch_size=8", "preferences.pairs=32")),
    Case(
        "ppo, SmolLM2-135M",
        "ppo",
        "embedded",
        ("ppo.prompts_per_update=6", "ppo.replies_per_prompt=4", "ppo.minibatch_size=16", "ppo.judge_personas=2"),
    ),
    Case("full fine-tuning, Llama-like 34M", "compare", "random", ("data.max_turns=8", "sft.batch_size=4"), _DEEP),
)
STEPS = 3  # from the third on the peak stays where it is


def main() -> None:
    """Run the cases one after the other; print the table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description="predicted against measured peak memory")
    parser.add_argument("--only", nargs="*", help="parts of the names of the runs wanted")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)  # the child's side
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measure(CASES[options.case], options.folder)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            if options.only and not any(part in case.name for part in options.only):
                continue
            own = Path(folder) / str(number)  # a run of its own: it must not go on with another's checkpoints
            own.mkdir()
            command = [sys.executable, __file__, "--case", str(number), "--folder", str(own)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{case.name}: {done.stderr.strip().splitlines()[-1]}")
            rows.append({"name": case.name, **json.loads(done.stdout.strip().splitlines()[-1])})
            show(rows[-1])
    worst = max((abs(row["difference"]) for row in rows), default=0.0)
    verdict = "met" if worst <= TARGET else "missed"
    print(f"largest difference {worst:.1%}, target {TARGET:.0%}: {verdict}")
    versions = {name: version(name) for name in ("personatune", "torch", "transformers", "peft")}
    print(json.dumps({"runs": rows, "largest_difference": worst, "target": TARGET, "versions": versions}))


def show(row: dict[str, Any]) -> None:
    """Print one run's line."""
    predicted, measured = row["predicted"] / 2**20, row["measured"] / 2**20
    print(
        f"{row['name']:<34} predicted {predicted:7.0f} MiB  measured {measured:7.0f} MiB  {row['difference']:+7.1%}"
        f"  ({row['moment']}; {row['parameters'] / 1e6:.0f}M parameters)",
        flush=True,
    )


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Predict a case, then do it; returns both figures in bytes and their relative difference."""

    set_up_libraries()

    settings = [
        f"model.base={_model(case, folder)}",
        "data.max_dialogues=60",
        f"sft.max_steps={STEPS}",
        "sft.evaluations=1",
        "sft.samples=0",
        "sft.validation_dialogues=4",  # one batch, as large as a longer evaluation's
        "ppo.updates=1",
        *case.settings,
    ]
    config = load_config("quick", settings)
    loaded = DatasetLoader(config.data.source, fraction=config.data.fraction, seed=config.seed).load()
    data = DataProcessor(config.data, config.seed).process(loaded)
    prompts = load_prompts(config)
    found = predict(config, this_machine(config), measured_lengths(config, prompts, data.train), [case.stage])
    meter = PeakMemory()
    meter.start()
    _WORK[case.stage](config, prompts, data, folder / f"run-{case.stage}-{case.model}-{len(case.settings)}")
    measured = meter.stop()
    predicted = found.peak.bytes
    return {
        "stage": case.stage,
        "predicted": round(predicted),
        "measured": measured,
        "difference": predicted / measured - 1,
        "moment": found.peak.peak.name,
        "parameters": found.architecture.parameters,
        "floor": found.place.floor,
        "lengths": asdict(found.lengths),
        "moments": {moment.name: round(moment.bytes) for moment in found.peak.moments},
    }


def _model(case: Case, folder: Path) -> str:
    """Return the case's base model: the embedded one, or a folder with random weights and the embedded tokenizer."""
    if case.model == "embedded":
        return case.model

    shape = dict(case.shape)
    kind = shape.pop("model_type")
    target = folder / f"{kind}-{shape.get('n_embd') or shape['hidden_size']}"
    if not target.is_dir():
        # In a process of its own: what building it takes would count as the floor of the run.
        script = (
            "import json, sys, torch; from transformers import AutoConfig, AutoModelForCausalLM; torch.manual_seed(0); "
            "kind, shape, target = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]; "
            "AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape)).save_pretrained(target)"
        )
        subprocess.run([sys.executable, "-c", script, kind, json.dumps(shape), str(target)], check=True)
        load_tokenizer().save_pretrained(target)
    return str(target)


def _sft(config: Any, prompts: Any, data: Any, folder: Path, *, full: bool = False) -> None:

    lora = None if full else config.lora
    rate = config.compare.full_learning_rate or config.compare.full_learning_rates[0]  # memory is the same with any
    settings = config.sft.model_copy(update={"learning_rate": rate}) if full else config.sft
    trainer = SFTTrainer(load_base(config), prompts, data.train, data.validation, settings, lora, folder)
    longest = sorted(trainer.train_set, key=lambda dialogue: len(dialogue.input_ids))
    trainer.train_set = longest[
        -STEPS * config.sft.batch_size :
    ]  # the peak of a whole run is that of its longest batch
    trainer.steps_per_epoch = STEPS
    trainer.train()


def _full(config: Any, prompts: Any, data: Any, folder: Path) -> None:
    _sft(config, prompts, data, folder, full=True)


def _split(config: Any) -> Any:

    return SplitModel(load_base(config), config.branch)


def _reward(config: Any, prompts: Any, data: Any, folder: Path) -> None:

    kinds = {"persona_swap": 1.0, "off_topic": 1.0}  # those that need no model to write them
    wanted = config.preferences.model_copy(update={"kinds": kinds})
    pairs = PreferenceGenerator(data.train, wanted, config.seed, lambda contexts, count: []).generate().pairs
    trainer = RewardModelTrainer(RewardModel(_split(config), prompts), config.reward, folder)
    trainer.train(pairs)


def _ppo(config: Any, prompts: Any, data: Any, folder: Path) -> None:

    turns = config.preferences.max_history_turns
    contexts = [
        Context(context.persona, context.history[-turns:]) for view in data.train for context, _ in view.replies()
    ]
    contexts.sort(key=lambda context: -sum(len(turn.text) for turn in context.history))
    split = _split(config)
    few = contexts[: config.ppo.prompts_per_update]
    reward = RewardModel(split, prompts)
    PPOTrainer(split, prompts, reward, few, config.ppo, folder, judge=lambda: 0.5).train()


_WORK = {"sft": _sft, "compare": _full, "reward": _reward, "ppo": _ppo}

if __name__ == "__main__":
    benchmark(main)
