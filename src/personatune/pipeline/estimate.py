"""Predicts what a run's stages take, for `personatune estimate` and before a run trains; finds settings that fit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from personatune.costs.estimate.quantities import GIB, Architecture, Lengths, Place, StageEstimate, largest
from personatune.costs.estimate.stages import BESIDE, STAGES, estimate
from personatune.costs.memory import available_memory, footprint, resident_memory
from personatune.data.processing import PreparedData
from personatune.dialogue import Context, Perspective
from personatune.errors import UserError
from personatune.model.architecture import find_config, read_architecture
from personatune.model.prompts import PromptFormat
from personatune.pipeline.models import load_prompts
from personatune.pipeline.run import MAY_CHANGE, Run
from personatune.settings import Config
from personatune.training.sft_dialogues import encode_dialogues

CPU_SLACK = 0.20
"""Holes that glibc's heap has between tensors that live for a step, as a share of them, with freed memory kept
(`personatune.allocator`): 17 to 22 % on two small models that no benchmark uses (docs/costs.md)."""
GPU_SLACK = 0.10
"""The same of torch's caching allocator, which rounds to blocks: an assumption, there was no GPU to measure it on."""

GPU_CONTEXT = int(0.6 * GIB)
"""What CUDA and its libraries take of a GPU before the first tensor: an assumption too."""

_PERSONA_LINE, _TURN, _FRAME = 16, 32, 48
"""Tokens of a long persona sentence, a long turn, and the frame of a chat template: assumptions, printed as such."""
_SAMPLED = 400  # dialogues whose tokens are counted at most
_SMALLEST = 64  # tokens: shorter sequences teach nobody anything


@dataclass(frozen=True)
class Estimate:
    """A run's stages in a place, and where the numbers come from."""

    architecture: Architecture
    config_source: str
    lengths: Lengths
    place: Place
    stages: tuple[StageEstimate, ...]

    @property
    def peak(self) -> StageEstimate:
        return largest(self.stages)

    @property
    def fits(self) -> bool:
        return self.place.memory is None or self.peak.bytes <= self.place.memory


def this_machine(config: Config) -> Place:
    """Return the machine this runs on: its fullest GPU, or its CPU with the memory that is free now."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if torch.cuda.is_available():
        memory = min(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
        return Place("gpu", processes, GPU_CONTEXT, GPU_SLACK, int(memory) + GPU_CONTEXT, _sharded(config))
    on_this = int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))
    memory = available_memory() // on_this + resident_memory()
    return Place("cpu", processes, footprint(), CPU_SLACK, memory, _sharded(config))


def preset_place(config: Config, memory: int | None = None, processes: int | None = None) -> Place:
    """Return the place that the settings name (``machine``), or this machine where they name none."""
    machine = config.machine
    if machine.gpus == 0:
        here = this_machine(config)
        return replace(here, memory=memory or here.memory, processes=processes or here.processes)
    limit = memory if memory else int(machine.memory_gb * GIB) if machine.memory_gb else None
    return Place("gpu", processes or machine.gpus, GPU_CONTEXT, GPU_SLACK, limit, _sharded(config))


def predict(config: Config, place: Place, lengths: Lengths | None = None, stages: Sequence[str] = ()) -> Estimate:
    """Predict the stages of a run with these settings.

    Raises:
        UserError: an unknown model, or one that can't be built from its config.
    """
    found = find_config(config.model.base, config.model.revision)
    architecture = read_architecture(found, config.model.base, config, _dtype(config, place))
    if place.kind == "cpu":  # counting has loaded what training will load
        place = replace(place, floor=max(place.floor, footprint()))
    return _predict(config, place, lengths or assumed_lengths(config), stages, architecture, found.source)


def _predict(
    config: Config, place: Place, lengths: Lengths, stages: Sequence[str], architecture: Architecture, source: str
) -> Estimate:
    names = stages or tuple(STAGES)
    found = tuple(estimate(name, architecture, config, lengths, place) for name in names)
    return Estimate(architecture, source, lengths, place, found)


def assumed_lengths(config: Config) -> Lengths:
    """Return lengths of long texts where no data was read: sentences, turns and frame, cut at the model's length."""
    persona = _FRAME + config.data.max_traits * _PERSONA_LINE
    most = config.model.max_length
    dialogue = min(most, persona + config.data.max_turns * _TURN)
    prompt = min(most - config.ppo.max_new_tokens, persona + config.preferences.max_history_turns * _TURN)
    return Lengths(dialogue, 0.5, prompt, _TURN, "assumed; those of a prepared run are counted")


def measured_lengths(config: Config, prompts: PromptFormat, data: Sequence[Perspective]) -> Lengths:
    """Count the longest texts of prepared data.

    The longest dialogues are those with the most characters; they and no others are tokenised.
    """
    longest = sorted(data, key=lambda view: sum(len(turn.text) for turn in view.turns), reverse=True)[:_SAMPLED]
    encoded = encode_dialogues(prompts, longest, config.sft)
    if not encoded:
        return assumed_lengths(config)
    top = max(encoded, key=lambda dialogue: len(dialogue.input_ids))
    losses = sum(weight > 0 for weight in top.loss_weights)
    answered = list(_contexts(longest, config.preferences.max_history_turns))
    if not answered:
        return assumed_lengths(config)
    contexts, replies = zip(*answered, strict=True)
    by_size = sorted(contexts, key=lambda context: sum(len(turn.text) for turn in context.history), reverse=True)
    return Lengths(
        dialogue=len(top.input_ids),
        loss_share=losses / len(top.input_ids),
        prompt=max(len(prompts.encode_prompt(context, config.ppo.max_new_tokens)) for context in by_size[:_SAMPLED]),
        reply=max(len(prompts.encode_reply(reply)) for reply in sorted(replies, key=len)[-_SAMPLED:]),
        source=f"counted in the run's data ({len(data)} dialogues)",
    )


def _contexts(views: Sequence[Perspective], turns: int) -> Iterator[tuple[Context, str]]:
    for view in views:
        for context, reply in view.replies():
            yield Context(context.persona, context.history[-turns:]), reply


def run_lengths(run: Run) -> Lengths:
    """Return the lengths of a run's data, or the assumed ones before it was prepared."""
    if "prepare" not in run.done():
        return assumed_lengths(run.config)
    data = PreparedData.load(run.folder("prepare"))
    return measured_lengths(run.config, load_prompts(run.config), data.train)


def check_memory(run: Run, names: Sequence[str], begin: str) -> str | None:
    """Refuse to start stages for which this machine's free memory doesn't suffice; returns why that couldn't be seen.

    Args:
        begin: the stage that is about to run.

    Raises:
        UserError: the predicted peak is higher (names the nearest settings that fit), or ``begin`` has to wait for
            another stage.
    """
    if begin in STAGES | BESIDE:
        run.require(begin)  # what is missing is told before its data is asked for
    wanted = [name for name in names if name in STAGES | BESIDE and name not in run.done()]
    if not wanted or "prepare" not in run.done():
        return None
    lengths = run_lengths(run)
    try:
        found = predict(run.config, this_machine(run.config), lengths, wanted)
    except UserError as error:  # an unusual architecture may train all the same
        return f"memory: no estimate ({error})"
    if not found.fits:
        raise UserError(f"{too_little(run.config, found)}; --despite-memory goes on all the same")
    return None


def too_little(config: Config, found: Estimate) -> str:
    """Say in a line what doesn't fit where, and which settings would."""
    assert found.place.memory is not None
    peak = found.peak
    told = (
        f"{peak.stage} needs about {peak.bytes / GIB:.1f} GiB ({peak.peak.name}), "
        f"{found.place.memory / GIB:.1f} GiB can be had"
    )
    flags = nearest_that_fits(config, found)
    if flags is None:
        return f"{told}; no smaller setting fits, take a smaller base model or a larger machine"
    return f"{told}; this fits: {' '.join(f'--set {flag}' for flag in flags)}"


def after_running_out(run: Run, stage: str, peak: int) -> str:
    """Say in a line what a stage that ran out of memory could do with.

    Args:
        run: with the settings the stage ran with.
        peak: bytes that it had when it could get no more: so much is known to be there.
    """
    told = f"{stage} ran out of memory with {peak / GIB:.1f} GiB in use; what was saved before stays"
    way_out = "close other programs, or take a smaller base model"
    try:
        found = predict(run.config, this_machine(run.config), run_lengths(run), [stage])
        enough = min(float(peak), 0.9 * found.peak.bytes)  # the estimate may be too low
        flags = nearest_that_fits(run.config, replace(found, place=replace(found.place, memory=int(enough))))
    except (UserError, LookupError, ValueError, MemoryError, RuntimeError, OSError):
        # no figures for such a stage (a baseline), its files are gone, or still no memory to count in
        return f"{told}; {way_out}"
    if not flags:
        return f"{told}; no smaller setting fits, {way_out}"
    less = " ".join(f"--set {flag}" for flag in flags)
    if all(flag.startswith(MAY_CHANGE) for flag in flags):
        return f"{told}; less is needed with {less}: personatune run with it and the settings of before goes on there"
    return f"{told}; less is needed with {less}, in a run with another --name"


def nearest_that_fits(config: Config, found: Estimate) -> list[str] | None:
    """Return the smallest change of settings with which all stages fit, as ``section.key=value``; None if none does.

    In this order, each on top of those before it that helped: fewer sequences at once (the same result, more slowly),
    fewer rows while decoding, shorter sequences, fewer layers in the branches, and a base in 4 bits.
    """
    changed, flags = config, dict[str, object]()
    for key, values in _smaller(config, found.lengths):
        before = _excess(changed, found)
        for value in values:
            candidate = _with(changed, key, value)
            after = _excess(candidate, found)
            if after < before:
                changed, before = candidate, after
                flags[key] = value
            if after <= 0:
                return [f"{key}={value}" for key, value in flags.items()]
    return None


def _excess(config: Config, found: Estimate) -> float:
    """Return the bytes that are missing in all, over the stages that don't fit."""
    assert found.place.memory is not None
    most = config.model.max_length
    lengths = replace(found.lengths, dialogue=min(found.lengths.dialogue, most), prompt=min(found.lengths.prompt, most))
    names = [stage.stage for stage in found.stages]
    again = _predict(config, found.place, lengths, names, found.architecture, found.config_source)
    return sum(max(0.0, stage.bytes - found.place.memory) for stage in again.stages)


def _smaller(config: Config, lengths: Lengths) -> Iterator[tuple[str, list[object]]]:
    """Yield settings with ever smaller values."""
    rows = config.sft.micro_batch_size or config.sft.batch_size
    yield "sft.micro_batch_size", list(_halves(rows, 1))
    yield "ppo.minibatch_size", list(_halves(config.ppo.minibatch_size, 1))
    yield "reward.batch_size", list(_halves(config.reward.batch_size, 1))
    yield "dpo.batch_size", list(_halves(config.dpo.batch_size, 1))
    yield "branch.trunk_memory_gb", [config.branch.trunk_memory_gb / 4, 0.0]
    yield "evaluation.batch_size", list(_halves(config.evaluation.batch_size, 4))
    longest = min(config.model.max_length, lengths.dialogue)
    yield "model.max_length", list(_halves(longest, _SMALLEST, share=0.75))
    if config.branch.layers != "all":
        yield "branch.layers", list(_halves(config.branch.layers, max(2, config.branch.critic_layers or 0)))
    if config.lora.quantization == "none":
        yield "lora.quantization", ["nf4"]


def _halves(value: int, least: int, share: float = 0.5) -> Iterator[object]:
    while int(value * share) >= least:
        value = int(value * share)
        yield value


def _with(config: Config, key: str, value: object) -> Config:
    section, _, name = key.partition(".")
    return config.model_copy(update={section: getattr(config, section).model_copy(update={name: value})})


def _dtype(config: Config, place: Place) -> torch.dtype:
    """Return the number type of the base as `load_base_model` chooses it; an unknown GPU is taken to have no bf16."""
    if config.model.dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.model.dtype]
    return torch.float32 if place.kind == "cpu" else torch.float16


def _sharded(config: Config) -> bool:
    strategy = config.distributed.strategy
    return strategy == "fsdp" or (strategy == "auto" and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true")


def is_hub_id(source: str) -> bool:
    """Say whether a model's name is a hub id and no folder."""
    return source != "embedded" and not Path(source).is_dir()
