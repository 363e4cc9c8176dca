"""Predicted memory of each stage: one function a stage, one list of terms a moment of it.

The code a function describes is named in it; who changes that code changes the formula. Figures are bytes of the
fullest process. See docs/costs.md, "Estimating memory".
"""

from __future__ import annotations

from collections.abc import Callable

from personatune.config import Config
from personatune.costs.estimate import parts
from personatune.costs.estimate.quantities import Architecture, Lengths, Moment, Place, StageEstimate, Term

LOSS_ROWS = 256  # of `model/token_loss.py`: rows whose logits exist at once below a frozen head
LOGPROB_ROWS = 128  # of `training/rl_math.py`
BATCH_TOKENS = 2048  # of `model/shared_replies.py`: tokens that go through the branches together
HELD_OUT_ROWS = 4  # of `training/sft.py`: dialogues of a held-out evaluation's batch
SAMPLER_ROWS = 16  # of `model/generation.Chatbot`
ROOM = 64  # of `model/roomy_cache.py`: tokens of room in the key-value cache

Estimator = Callable[[Architecture, Config, Lengths, Place], StageEstimate]


def sft(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """LoRA on all layers (`training/gradient_step.py`)."""
    lora = config.lora
    base = parts.weights(a, place, lora.quantization)
    adapter = parts.trained("adapters", parts.adapter_numbers(a, lora.rank, a.layers), "LoRA adapter")
    tokens = _sft_rows(config, place) * lengths.dialogue
    step = [
        *base,
        *adapter,
        parts.activations(_sft_rows(config, place), lengths.dialogue, a.layers, a.lora, place),
        parts.logits(min(LOSS_ROWS, _loss_tokens(tokens, lengths)), a, 2, "a chunk and its exponentials' sum"),
    ]
    held_out = HELD_OUT_ROWS * lengths.dialogue
    evaluation = [
        *base,
        *_without_gradients(adapter),
        parts.passing(a, held_out),
        parts.logits(min(LOSS_ROWS, _loss_tokens(held_out, lengths)), a, 2, "a chunk and its exponentials' sum"),
    ]
    return StageEstimate("sft", (Moment("training step", tuple(step)), Moment("held-out loss", tuple(evaluation))))


def preferences(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Sampling replies from the merged SFT model (`model/generation.py`); one process does it."""
    samples = config.preferences.samples_per_context
    contexts = max(1, SAMPLER_ROWS // samples)
    terms = [
        *parts.weights(a, place, config.lora.quantization),
        *_sampling(a, contexts, samples, lengths.prompt, config.preferences.max_new_tokens),
    ]
    return StageEstimate("preferences", (Moment("sampling", tuple(terms)),))


def reward(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """A branch on the top layers, trained on pairs whose trunk output is kept (`training/reward.py`)."""
    return _on_pairs("reward", config.reward.batch_size, a, config, lengths, place)


def dpo(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """The same on the policy branch, with log-probabilities in place of a score (`training/dpo.py`)."""
    return _on_pairs("dpo", config.dpo.batch_size, a, config, lengths, place)


def _on_pairs(
    stage: str, batch_size: int, a: Architecture, config: Config, lengths: Lengths, place: Place
) -> StageEstimate:
    top, scores = _top(a, config), stage == "reward"
    base = [*parts.weights(a, place, config.lora.quantization)]
    branch = parts.trained(
        "adapters", parts.adapter_numbers(a, config.branch.rank, top, head=scores), f"{stage} branch"
    )
    width = lengths.prompt + 2 * lengths.reply
    rows = min(place.share(batch_size), max(1, BATCH_TOKENS // width))
    cache = _trunk_cache(a, config, place.share(config.preferences.pairs) * width)
    answers = rows * 2 * lengths.reply
    logprobs = parts.logits(min(LOGPROB_ROWS, answers), a, 3, "log-probabilities, probabilities and their product")
    step = [
        *base,
        *branch,
        cache,
        parts.activations(rows, width, top, a.branch, place),
        parts.mask(rows, width, a),
        Term(
            "activations", rows * width * a.hidden * a.number_bytes, "the batch's own copy of the trunk's output", True
        ),
        *([] if scores else [logprobs]),
    ]
    together = max(1, BATCH_TOKENS // width)
    filling = [
        *base,
        *_without_gradients(branch),
        cache,
        parts.passing(a, together * width),
        parts.mask(together, width, a),
    ]
    return StageEstimate(stage, (Moment("training step", tuple(step)), Moment("shared layers", tuple(filling))))


def ppo(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Three branches on one backbone: sampling, then steps of policy and critic (`training/ppo_update.py`)."""
    settings, top = config.ppo, _top(a, config)
    prompts = place.share(settings.prompts_per_update)
    each = settings.replies_per_prompt
    # In later turns of a conversation each reply has a prompt of its own, longer by a line and a reply a turn.
    later = settings.turns_per_episode - 1
    grown = min(lengths.prompt + later * (20 + settings.max_new_tokens), config.model.max_length)
    numbers = parts.adapter_numbers(a, config.branch.rank, top, head=True)
    base = [
        *parts.weights(a, place, config.lora.quantization),
        Term("adapters", numbers * parts.MASTER_BYTES, "reward branch, frozen"),
        *parts.trained("adapters", 2 * numbers, "policy and critic branches"),
    ]
    sampled = (prompts * each, 1, grown) if later else (prompts, each, lengths.prompt)
    sampling = [*_without_gradients(base), *_sampling(a, *sampled, settings.max_new_tokens)]
    width = max(lengths.prompt + each * settings.max_new_tokens, grown + settings.max_new_tokens if later else 0)
    together = 1 if later else each
    rows = -(-min(place.share(settings.minibatch_size), prompts * each) // together)
    rows = min(rows, max(1, BATCH_TOKENS // width))
    kept = prompts * (lengths.prompt + each * settings.max_new_tokens)
    cache = _trunk_cache(a, config, kept + prompts * each * later * (grown + settings.max_new_tokens))
    answers = rows * together * settings.max_new_tokens
    step = [
        *base,
        cache,
        parts.activations(rows, width, top, a.branch, place),
        parts.mask(rows, width, a),
        Term(
            "activations", rows * width * a.hidden * a.number_bytes, "the batch's own copy of the trunk's output", True
        ),
        parts.logits(min(LOGPROB_ROWS, answers), a, 3, "log-probabilities, probabilities and their product"),
    ]
    judging = [
        *_without_gradients(base),
        *_sampling(
            a,
            min(place.share(settings.judge_personas), config.evaluation.batch_size),
            1,
            _dialogue_so_far(config, lengths),
            config.evaluation.max_new_tokens,
        ),
    ]
    moments = Moment("training step", tuple(step)), Moment("sampling", tuple(sampling)), Moment("judge", tuple(judging))
    return StageEstimate("ppo", moments)


def evaluate(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Probe dialogues, many at once, and held-out losses (`evaluation/suite.py`); one process does it."""
    settings = config.evaluation
    base = parts.weights(a, place, config.lora.quantization)
    rows = min(settings.batch_size, settings.personas)
    dialogues = [*base, *_sampling(a, rows, 1, _dialogue_so_far(config, lengths), settings.max_new_tokens)]
    answers = min(settings.batch_size, settings.quality_contexts)
    contexts = [*base, *_sampling(a, answers, 1, lengths.dialogue, settings.max_new_tokens)]
    held_out = HELD_OUT_ROWS * lengths.dialogue
    losses = [
        *base,
        parts.passing(a, held_out),
        parts.logits(min(LOSS_ROWS, _loss_tokens(held_out, lengths)), a, 2, "a chunk and its exponentials' sum"),
    ]
    moments = (
        Moment("probe dialogues", tuple(dialogues)),
        Moment("held-out replies", tuple(contexts)),
        Moment("held-out loss", tuple(losses)),
    )
    return StageEstimate("evaluate", moments)


def compare(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Full fine-tuning: every weight has a gradient and two moments; the trained head keeps all its logits."""
    tokens = _sft_rows(config, place) * lengths.dialogue
    whole = parts.trained("weights", a.parameters, "weights")
    step = [
        *whole,
        parts.activations(_sft_rows(config, place), lengths.dialogue, a.layers, a.full, place),
        parts.logits(_loss_tokens(tokens, lengths), a, 3, "log-probabilities and two gradients"),
    ]
    restored = [
        *_without_gradients(whole),
        Term("other", 3 * a.parameters * parts.MASTER_BYTES, "the best checkpoint, read to take its weights"),
    ]
    return StageEstimate("compare", (Moment("training step", tuple(step)), Moment("restoring", tuple(restored))))


STAGES: dict[str, Estimator] = {
    "sft": sft,
    "preferences": preferences,
    "reward": reward,
    "ppo": ppo,
    "evaluate": evaluate,
    "compare": compare,
}
BESIDE: dict[str, Estimator] = {"dpo": dpo}
"""Trainings that a run doesn't make by itself."""


def estimate(stage: str, a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Return a stage's moments with libraries and the allocator's slack."""
    found = (STAGES | BESIDE)[stage](a, config, lengths, place)
    return StageEstimate(stage, tuple(moment.at(place) for moment in found.moments))


def _sampling(a: Architecture, prompts: int, each: int, prompt: int, new: int) -> list[Term]:
    """Decoding: the cache of prompts and replies, what the prompts take on their way through, and a step's logits."""
    rows = prompts * each
    return [
        parts.key_values(rows, prompt + max(new, ROOM), a, "while sampling"),
        parts.passing(a, prompts * prompt),
        parts.logits(rows, a, 4, "probabilities, log-probabilities and a copy to draw from"),
    ]


def _without_gradients(terms: list[Term]) -> list[Term]:
    return [term for term in terms if term.kind != "gradients"]


def _trunk_cache(a: Architecture, config: Config, tokens: int) -> Term:
    needed = tokens * a.hidden * a.number_bytes
    limit = config.branch.trunk_memory_gb * 2**30
    if _top(a, config) == a.layers:
        needed = 0
    why = f"trunk output of {tokens:,} tokens" + ("; the rest on disk" if needed > limit else "")
    return Term("caches", min(needed, limit), why)


def _top(a: Architecture, config: Config) -> int:
    return a.layers if config.branch.layers == "all" else min(config.branch.layers, a.layers)


def _sft_rows(config: Config, place: Place) -> int:
    rows = place.share(config.sft.batch_size)
    return min(rows, config.sft.micro_batch_size or rows)


def _loss_tokens(tokens: int, lengths: Lengths) -> int:
    return round(tokens * lengths.loss_share)


def _dialogue_so_far(config: Config, lengths: Lengths) -> int:
    """Tokens of a probe dialogue before its last reply: the persona, and a question and an answer each turn."""
    grown = lengths.prompt + (config.evaluation.turns - 1) * (20 + config.evaluation.max_new_tokens)
    return min(grown, config.model.max_length)
