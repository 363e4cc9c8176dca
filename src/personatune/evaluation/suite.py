"""Everything that is measured about one model, on held-out personas: the same for every model of a run."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from personatune.costs.meter import StageMeter
from personatune.dialogue import Context, Perspective, ProbeScript, Respond
from personatune.errors import UserError
from personatune.evaluation.engagement import Encoder, EngagementEvaluator
from personatune.evaluation.judged import MEASURES, JudgedEvaluator
from personatune.evaluation.persona import PersonaEvaluator
from personatune.evaluation.quality import QualityEvaluator
from personatune.evaluation.reply_features import relevance
from personatune.evaluation.transcripts import of_probe_dialogue
from personatune.intervals import Estimate, bootstrap
from personatune.judging.probes import ProbeDialogue, hold_dialogues, judge_dialogue, make_script
from personatune.model.generation import Chatbot, Sampling
from personatune.model.likelihood import dialogue_losses
from personatune.model.prompts import EncodedDialogue, PromptFormat
from personatune.progress import Progress, SilentProgress, Task
from personatune.settings import EvaluationConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Keep = Callable[[str, int, int, Callable[[list[int]], Sequence[Any]], Any], list[Any]]
"""Given a name, the number of items, how many go together, work on some of them by number, and what it draws with:
returns one value an item. A stage keeps finished parts this way (`pipeline.kept_work`)."""

_LOSSES_AT_ONCE = 4
_LOSSES_KEPT_AT_ONCE = 4 * _LOSSES_AT_ONCE


def _all_at_once(
    _what: str, items: int, _size: int, work: Callable[[list[int]], Sequence[Any]], _drawing: Any
) -> list[Any]:
    return list(work(list(range(items))))


class Speaker(Protocol):
    """Says a model's replies: a `Chatbot`, or one that is watched."""

    @property
    def tokens_generated(self) -> int: ...

    @property
    def decoding(self) -> dict[str, Any]: ...

    def __call__(self, contexts: Sequence[Context]) -> list[str]: ...

    def in_dialogues(self) -> Respond: ...


@dataclass(frozen=True)
class TestSet:
    """What every model of a run is judged on.

    Attributes:
        scripts: probe dialogues, one a held-out persona.
        replies: contexts with the human reply, for BLEU, ROUGE, F1 and Distinct.
        dialogues: whole dialogues, for perplexity.
    """

    __test__ = False  # no pytest class

    scripts: list[ProbeScript]
    replies: list[tuple[Context, str]]
    dialogues: list[Perspective]


def make_test_set(perspectives: Sequence[Perspective], config: EvaluationConfig, seed: int) -> TestSet:
    """Draw the test set from held-out perspectives.

    Raises:
        UserError: no persona has enough traits that a question can be made for, or no reply to compare with.
    """
    rng = random.Random(seed)
    shuffled = list(perspectives)
    rng.shuffle(shuffled)
    scripts = probe_scripts(shuffled, config.personas, config.turns, seed)
    if not scripts:
        raise UserError(
            f"none of {len(perspectives)} held-out perspectives has three traits that a probe question fits; "
            "give more data or lower data.min_traits"
        )
    replies = [reply for perspective in shuffled for reply in list(perspective.replies())[-1:]]
    return TestSet(scripts, replies[: config.quality_contexts], shuffled[: config.perplexity_dialogues])


def probe_scripts(perspectives: Sequence[Perspective], count: int, turns: int, seed: int) -> list[ProbeScript]:
    """Return up to ``count`` probe scripts of different personas, in the order of the perspectives."""
    scripts: dict[frozenset[str], ProbeScript] = {}
    for perspective in perspectives:
        key = frozenset(perspective.persona.traits)
        if key not in scripts:
            script = make_script(perspective.persona, turns, seed)
            if script is not None:
                scripts[key] = script
        if len(scripts) == count:
            break
    return list(scripts.values())


def evaluate_model(
    name: str,
    model: PreTrainedModel,
    prompts: PromptFormat,
    tests: TestSet,
    config: EvaluationConfig,
    *,
    seed: int = 0,
    judge: JudgedEvaluator | None = None,
    why_no_judge: str = "no judge",
    encoder: Encoder | None = None,
    why_no_encoder: str = "no sentence encoder",
    progress: Progress | None = None,
    meter: StageMeter | None = None,
    bot: Speaker | None = None,
    keep: Keep = _all_at_once,
) -> dict[str, Any]:
    """Hold the probe dialogues, answer the held-out contexts, and return all figures as JSON values.

    The result has ``model``, ``metrics`` (name to value, low, high, n), ``absent`` (name to the reason), ``dialogues``,
    ``decoding`` and ``judge``.

    Args:
        judge: gives the judged measures of the probe dialogues; without one they are absent.
        encoder: gives the relevance of replies to the partner's lines; without one it is absent.
        bot: says the model's replies, where that is not plain decoding as ``config`` has it.
        keep: does the work in parts and keeps them; by default all at once, keeping nothing.
    """
    progress = progress or SilentProgress()
    sampling = Sampling(config.max_new_tokens, config.temperature, config.repetition_penalty, config.no_repeat_ngram)
    bot = bot or Chatbot(model, prompts, sampling, batch_size=config.batch_size, seed=seed)
    steps = sum(len(script.lines) for script in tests.scripts) + len(tests.replies) + len(tests.dialogues)
    with progress.task(f"Judging {name}", steps) as task:
        dialogues = _hold(tests.scripts, bot, config.batch_size, keep, task)
        verdicts = [verdict for dialogue in dialogues for verdict in dialogue.verdicts if verdict]
        consistent = verdicts.count("consistent") / len(verdicts)
        task.advance(0, consistent=consistent)
        hypotheses = _answer([context for context, _ in tests.replies], bot, config.batch_size, keep)
        task.advance(len(tests.replies), consistent=consistent)

        def losses_of(chunk: list[int]) -> list[tuple[float, int, int]]:
            return dialogue_nll(model, prompts, [tests.dialogues[index] for index in chunk])

        rows = keep("losses", len(tests.dialogues), _LOSSES_KEPT_AT_ONCE, losses_of, bot)
        losses = [(nll, tokens, count) for nll, tokens, count in rows]
        task.advance(len(tests.dialogues))
    if meter:
        meter.add(tokens_generated=bot.tokens_generated)
    references = [reference for _, reference in tests.replies]
    samples = config.bootstrap_samples
    metrics = {
        **EngagementEvaluator(bootstrap_samples=samples, seed=seed).evaluate_multi_turn_engagement(dialogues),
        **QualityEvaluator(samples, seed).evaluate_all(hypotheses, references, losses),
        **PersonaEvaluator(samples, seed).evaluate_dialogues(dialogues),
        **(_judged(judge, dialogues) if judge else {}),
        **({"relevance": _relevance(encoder, dialogues, samples, seed)} if encoder else {}),
    }
    absent = {} if judge else dict.fromkeys(MEASURES, why_no_judge)
    return {
        "model": name,
        "metrics": {metric: estimate.to_json() for metric, estimate in metrics.items()},
        "absent": absent | ({} if encoder else {"relevance": why_no_encoder}),
        "dialogues": [_transcript(dialogue) for dialogue in dialogues],
        "decoding": {**bot.decoding, "seed": seed},
        "judge": {"name": judge.judge.name, "decision": judge.decision} if judge else None,
    }


def _hold(scripts: Sequence[ProbeScript], bot: Speaker, size: int, keep: Keep, task: Task) -> list[ProbeDialogue]:
    """Hold the probe dialogues; those of one part answer in lock-step."""
    held = 0

    def advance(replies: int) -> None:
        nonlocal held
        held += replies
        task.advance(replies)

    def hold(chunk: list[int]) -> list[list[str]]:
        dialogues = hold_dialogues([scripts[index] for index in chunk], bot.in_dialogues(), advance)
        return [list(dialogue.replies) for dialogue in dialogues]

    said = keep("dialogues", len(scripts), size, hold, bot)
    task.advance(sum(len(script.lines) for script in scripts) - held)  # those that were kept
    return [judge_dialogue(script, replies) for script, replies in zip(scripts, said, strict=True)]


def _answer(contexts: Sequence[Context], bot: Speaker, size: int, keep: Keep) -> list[str]:
    """Answer contexts in the chatbot's own order, so that parts are decoded together as all of them would be."""
    order = bot.by_length(contexts) if isinstance(bot, Chatbot) else list(range(len(contexts)))
    replies = [""] * len(contexts)
    said = keep("replies", len(order), size, lambda chunk: bot([contexts[order[index]] for index in chunk]), bot)
    for index, reply in zip(order, said, strict=True):
        replies[index] = reply
    return replies


def _judged(judge: JudgedEvaluator, dialogues: Sequence[ProbeDialogue]) -> dict[str, Estimate]:
    found = judge.evaluate_dialogues([of_probe_dialogue(held, str(number)) for number, held in enumerate(dialogues)])
    return {measure: found.metrics[measure] for measure in MEASURES if measure in found.metrics}


def _relevance(encoder: Encoder, dialogues: Sequence[ProbeDialogue], samples: int, seed: int) -> Estimate:
    """Return the mean cosine of a reply with the line it answers, over dialogues."""
    means = []
    for held in dialogues:
        cosines = relevance(encoder, held.replies, [line for line, _ in held.script.lines])
        means.append(sum(cosines) / len(cosines))
    return bootstrap(means, samples, seed)


@torch.no_grad()
def dialogue_nll(
    model: PreTrainedModel, prompts: PromptFormat, perspectives: Sequence[Perspective]
) -> list[tuple[float, int, int]]:
    """Return for each dialogue: summed negative log-likelihood of its own turns, their tokens and their words."""
    rows = []
    for start in range(0, len(perspectives), _LOSSES_AT_ONCE):
        batch = list(perspectives[start : start + _LOSSES_AT_ONCE])
        encoded = [prompts.encode_dialogue(perspective, [1.0] * len(perspective.turns)) for perspective in batch]
        losses = dialogue_losses(model, encoded, prompts.pad_id)
        for perspective, own, sums in zip(batch, encoded, losses, strict=True):
            rows.append((sums.nll, sums.tokens, _words_scored(perspective, own, prompts.stop_ids[0])))
    return rows


def _words_scored(perspective: Perspective, encoded: EncodedDialogue, stop_id: int) -> int:
    """Count the words of the own turns that are in the sequence: a dialogue that is too long lost its oldest ones."""
    scored = zip(encoded.input_ids, encoded.loss_weights, strict=True)
    kept = sum(token == stop_id and weight > 0 for token, weight in scored)
    said = [turn.text for turn in perspective.turns if turn.speaker == "self"]
    kept = kept or len(said)  # a template without an end marker of its own
    return sum(len(text.split()) for text in said[max(0, len(said) - kept) :])


def _transcript(dialogue: ProbeDialogue) -> dict[str, Any]:
    turns = []
    for (line, _), reply in zip(dialogue.script.lines, dialogue.replies, strict=True):
        turns += [["partner", line], ["self", reply]]
    return {"persona": list(dialogue.script.persona.traits), "turns": turns, "verdicts": list(dialogue.verdicts)}
