"""Predicted memory of each stage: one function a stage, one list of terms a moment of it.

The code a function describes is named in it; who changes that code changes the formula. Figures are bytes of the
fullest process. See docs/costs.md, "Estimating memory".
"""

from __future__ import annotations

from collections.abc import Callable

from personatune.costs.estimate import parts
from personatune.costs.estimate.quantities import Architecture, Lengths, Moment, Place, StageEstimate, Term
from personatune.settings import Config

LOSS_ROWS = 256  # of `model/token_loss.py`: rows whose logits exist at once below a frozen head
LOGPROB_ROWS = 128  # of `training/rl_math.py`
BATCH_TOKENS = 2048  # of `model/shared_replies.py`: tokens that go through the branches together
HELD_OUT_ROWS = 4  # of `training/sft.py`: dialogues of a held-out evaluation's batch
SAMPLER_ROWS = 16  # of `model/generation.Chatbot`
ROOM = 64  # of `model/roomy_cache.py`: tokens of room in the key-value cache
LEAN_ROOM = 128  # of `model/row_cache.py`; a quarter of it for replies that share prompts
PACKED = 512  # of `model/row_cache.py`: tokens of prompts encoded together

Estimator = Callable[[Architecture, Config, Lengths, Place], StageEstimate]


def sft(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """LoRA on all layers (`training/gradient_step.py`)."""
    lora = config.lora
    base = parts.weights(a, place, lora.quantization)
    if config.sft.samples:  # replies shown at each evaluation; what the sampler keeps for them stays
        base += _decoding_copies(a, config, place, a.layers)
    adapter = parts.trained("adapters", parts.adapter_numbers(a, lora.rank, a.layers), "LoRA adapter")
    rows = _sft_rows(config, place)
    tokens, held_out = rows * lengths.dialogue, HELD_OUT_ROWS * lengths.dialogue
    evaluation = [*base, *_without_gradients(adapter), parts.passing(a, held_out), _chunk(a, held_out, lengths)]
    step = _training_step(
        base,
        adapter,
        [parts.activations(rows, lengths.dialogue, a.layers, a.lora, place)],
        loss=[_chunk(a, tokens, lengths)],
        back=[parts.passing(a, tokens)],
        accumulated=rows < place.share(config.sft.batch_size),
    )
    return StageEstimate("sft", (*step, Moment("held-out loss", tuple(evaluation))))


def preferences(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Sampling replies from the merged SFT model (`model/generation.py`); one process does it."""
    samples = config.preferences.samples_per_context
    contexts = max(1, SAMPLER_ROWS // samples)
    terms = [
        *parts.weights(a, place, config.lora.quantization),
        *_decoding_copies(a, config, place, 0),
        *_sampling(a, config, place, contexts, samples, lengths.prompt, config.preferences.max_new_tokens),
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
    numbers = parts.adapter_numbers(a, config.branch.rank, top, head=scores)
    branch = parts.trained("adapters", numbers, f"{stage} branch")
    width = lengths.prompt + 2 * lengths.reply
    together = max(1, BATCH_TOKENS // width)
    rows = min(place.share(batch_size), together)
    base = [
        *parts.weights(a, place, config.lora.quantization),
        _trunk_cache(a, config, place.share(config.preferences.pairs) * width),
    ]
    step = _training_step(
        base,
        branch,
        _branch_activations(a, rows, width, top, place),
        loss=[] if scores else [_logprobs(a, rows * 2 * lengths.reply)],
        back=[parts.passing(a, rows * width)],
        accumulated=rows < place.share(batch_size),
    )
    filling = [
        *base,
        *_without_gradients(branch),
        parts.passing(a, together * width),
        parts.mask(together, width, a),
    ]
    return StageEstimate(stage, (*step, Moment("shared layers", tuple(filling))))


def ppo(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Three branches on one backbone: sampling, then steps of policy and critic (`training/ppo_update.py`)."""
    settings, top, critic = config.ppo, _top(a, config), _critic(a, config)
    prompts = place.share(settings.prompts_per_update)
    each, new = settings.replies_per_prompt, settings.max_new_tokens
    # In later turns of a conversation each reply has a prompt of its own, longer by a line and a reply a turn.
    later = settings.turns_per_episode - 1
    grown = min(lengths.prompt + later * (20 + new), config.model.max_length)
    numbers = parts.adapter_numbers(a, config.branch.rank, top, head=True)
    critics = parts.adapter_numbers(a, config.branch.rank, critic, head=True) if critic else 0
    base = [
        *parts.weights(a, place, config.lora.quantization),
        *_decoding_copies(a, config, place, top),
        Term("adapters", numbers * parts.MASTER_BYTES, "reward branch, frozen"),
    ]
    branches = parts.trained("adapters", numbers + critics, f"policy{' and critic branches' if critic else ' branch'}")
    resting = [*base, *_without_gradients(branches)]
    sampled = (prompts * each, 1, grown) if later else (prompts, each, lengths.prompt)
    sampling = [*resting, *_sampling(a, config, place, *sampled, new)]
    width = max(lengths.prompt + each * new, grown + new if later else 0)
    together = 1 if later else each
    rows = -(-min(place.share(settings.minibatch_size), prompts * each) // together)
    rows = min(rows, max(1, BATCH_TOKENS // width))
    kept = prompts * (lengths.prompt + each * new) + prompts * each * later * (grown + new)
    step = _training_step(
        [*base, _trunk_cache(a, config, kept, critic)],
        branches,
        _branch_activations(a, rows, width, top, place),
        loss=[_logprobs(a, rows * together * new)],
        back=[parts.passing(a, rows * width)],
        accumulated=True,  # the policy's gradients wait for the critic's
    )
    rows = min(place.share(settings.judge_personas), config.evaluation.batch_size)
    most = _dialogue_so_far(config, lengths)
    judging = [*resting, *_sampling(a, config, place, rows, 1, most, config.evaluation.max_new_tokens)]
    return StageEstimate("ppo", (*step, Moment("sampling", tuple(sampling)), Moment("judge", tuple(judging))))


def evaluate(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Probe dialogues, many at once, and held-out losses (`evaluation/suite.py`); one process does it."""
    settings = config.evaluation
    base = [
        *parts.weights(a, place, config.lora.quantization),
        *_decoding_copies(a, config, place, _top(a, config)),
    ]
    rows, new = min(settings.batch_size, settings.personas), settings.max_new_tokens
    dialogues = [*base, *_sampling(a, config, place, rows, 1, _dialogue_so_far(config, lengths), new)]
    answers = min(settings.batch_size, settings.quality_contexts)
    contexts = [*base, *_sampling(a, config, place, answers, 1, lengths.dialogue, new)]
    held_out = HELD_OUT_ROWS * lengths.dialogue
    losses = [*base, parts.passing(a, held_out), _chunk(a, held_out, lengths)]
    moments = (
        Moment("probe dialogues", tuple(dialogues)),
        Moment("held-out replies", tuple(contexts)),
        Moment("held-out loss", tuple(losses)),
    )
    return StageEstimate("evaluate", moments)


def compare(a: Architecture, config: Config, lengths: Lengths, place: Place) -> StageEstimate:
    """Full fine-tuning: every weight has a gradient and two moments; the trained head keeps all its logits."""
    rows = _sft_rows(config, place)
    tokens = rows * lengths.dialogue
    whole = parts.trained("weights", a.parameters, "weights")
    head = a.vocabulary * a.hidden * parts.MASTER_BYTES
    accumulated = rows < place.share(config.sft.batch_size)
    step = _training_step(
        [],
        whole,
        [parts.activations(rows, lengths.dialogue, a.layers, a.full, place)],
        loss=[parts.logits(_loss_tokens(tokens, lengths), a, 3, "log-probabilities and two gradients")],
        back=[
            parts.passing(a, tokens),
            *([] if accumulated else [Term("gradients", head, "the output matrix's, the first to be known")]),
        ],
        accumulated=accumulated,
    )
    restored = [
        *_without_gradients(whole),
        Term("other", 3 * a.parameters * parts.MASTER_BYTES, "the best checkpoint, read to take its weights"),
    ]
    return StageEstimate("compare", (*step, Moment("restoring", tuple(restored))))


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


def _training_step(
    base: list[Term],
    trained: list[Term],
    activations: list[Term],
    *,
    loss: list[Term],
    back: list[Term],
    accumulated: bool,
) -> tuple[Moment, ...]:
    """A step's moments: everything is kept when the way back begins; the gradients are whole when nothing is kept.

    A gradient comes into being where the way back has just freed what it was made from, so the two don't add up,
    unless earlier parts of the batch have left gradients already (``accumulated``).
    """
    before = trained if accumulated else _without_gradients(trained)
    return (
        Moment("loss", (*base, *before, *activations, *loss)),
        Moment("way back", (*base, *before, *activations, *back)),
        Moment("optimiser's step", (*base, *trained)),
    )


def _chunk(a: Architecture, tokens: int, lengths: Lengths) -> Term:
    """Logits below a frozen head (`model/token_loss.py`): worked off in place; in half precision a copy of them too."""
    rows = min(LOSS_ROWS, _loss_tokens(tokens, lengths))
    return parts.logits(rows, a, 1 if a.number_bytes == 4 else 1.5, "a chunk at a time")


def _branch_activations(a: Architecture, rows: int, width: int, top: int, place: Place) -> list[Term]:
    """What a batch keeps on its way through a branch, its own copy of the trunk's output with it."""
    copied = rows * width * a.hidden * a.number_bytes
    return [
        parts.activations(rows, width, top, a.branch, place),
        parts.mask(rows, width, a),
        Term("activations", copied, "the batch's own copy of the trunk's output", True),
    ]


def _logprobs(a: Architecture, answers: int) -> Term:
    rows = min(LOGPROB_ROWS, answers)
    return parts.logits(rows, a, 3, "log-probabilities, probabilities and their product")


def _decoding_copies(a: Architecture, config: Config, place: Place, adapted: int) -> list[Term]:
    return parts.decoding_copies(a, place, adapted) if config.lora.quantization == "none" else []


def _sampling(
    a: Architecture, config: Config, place: Place, prompts: int, each: int, prompt: int, new: int
) -> list[Term]:
    """Decoding: the cache of prompts and replies, what the prompts take on their way through, and a step's logits."""
    rows, encoded = prompts * each, prompts * prompt
    if not _decoding_copies(a, config, place, 0):
        cached = rows * (prompt + max(new, ROOM))
    else:
        encoded = min(encoded, PACKED)
        own = rows * (new + LEAN_ROOM // 4) if each > 1 else prompts * new
        cached = prompts * (prompt + LEAN_ROOM) + own
    return [
        parts.key_values(cached, a, "while sampling"),
        parts.passing(a, encoded),
        parts.logits(rows, a, 4, "probabilities, log-probabilities and a copy to draw from"),
    ]


def _without_gradients(terms: list[Term]) -> list[Term]:
    return [term for term in terms if term.kind != "gradients"]


def _trunk_cache(a: Architecture, config: Config, tokens: int, *others: int) -> Term:
    """What is kept of each token below the branches, and below those on ``others`` layers (0: there is none)."""
    heights = {a.layers - layers for layers in (_top(a, config), *others) if layers} - {0}
    needed = tokens * a.hidden * a.number_bytes * len(heights)
    limit = config.branch.trunk_memory_gb * 2**30
    why = f"trunk output of {tokens:,} tokens" + ("" if len(heights) < 2 else ", and the critic's input")
    return Term("caches", min(needed, limit), why + ("; the rest on disk" if needed > limit else ""))


def _top(a: Architecture, config: Config) -> int:
    return a.layers if config.branch.layers == "all" else min(config.branch.layers, a.layers)


def _critic(a: Architecture, config: Config) -> int:
    """Layers of the critic; 0 where the advantages need none."""
    if config.ppo.advantages != "gae":
        return 0
    return min(config.branch.critic_layers or a.layers, _top(a, config))


def _sft_rows(config: Config, place: Place) -> int:
    rows = place.share(config.sft.batch_size)
    return min(rows, config.sft.micro_batch_size or rows)


def _loss_tokens(tokens: int, lengths: Lengths) -> int:
    return round(tokens * lengths.loss_share)


def _dialogue_so_far(config: Config, lengths: Lengths) -> int:
    """Tokens of a probe dialogue before its last reply: the persona, and a question and an answer each turn."""
    grown = lengths.prompt + (config.evaluation.turns - 1) * (20 + config.evaluation.max_new_tokens)
    return min(grown, config.model.max_length)
