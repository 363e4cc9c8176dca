"""Scores of many replies on one encoded context equal those of one plain forward pass a reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from personatune.dialogue import Context, Persona, RankingTask, Turn
from personatune.errors import UserError
from personatune.model import candidates
from personatune.model.candidates import CandidateScorer
from personatune.model.lean_decoder import LeanDecoder

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

REPLIES = ("I have two dogs.", "I have two cats.", "I have", "No.", "I work as a nurse with Bano.", "I have two dogs.")


def tasks_of(dialogues: type[HandMadeDialogues], count: int) -> list[RankingTask]:
    kinds = ("gold", "neg", "similar", "rand", "rand", "rand")
    return [RankingTask(f"f:{n}", context, REPLIES, kinds) for n, context in enumerate(dialogues.contexts(count))]


def plain_score(model, prompts, context: Context, reply: str) -> float:
    """Mean log-probability of the reply's tokens and the end token, by one forward pass."""
    prompt, ids = prompts.encode_prompt(context), prompts.encode_reply(reply)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0]
    logprobs = torch.log_softmax(logits, dim=-1)
    return sum(float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(ids)) / len(ids)


def test_every_family_scores_as_a_plain_forward_pass_does(
    tiny: TinyModels, family: str, dialogues: type[HandMadeDialogues]
) -> None:
    model, prompts = tiny.model(family), tiny.prompts()
    scorer = CandidateScorer(model, prompts)
    assert scorer.shares_contexts
    tasks = tasks_of(dialogues, 3)
    for task, scores in zip(tasks, scorer(tasks), strict=True):
        expected = [plain_score(model, prompts, task.context, reply) for reply in REPLIES]
        assert scores == pytest.approx(expected, abs=1e-4)


def test_the_next_turn_of_a_dialogue_encodes_only_what_is_new(
    tiny: TinyModels, family: str, dialogues: type[HandMadeDialogues], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompts = tiny.model(family), tiny.prompts()
    [view] = dialogues.perspectives(1, turns=8)
    tasks = [RankingTask(f"f:{n}", Context(view.persona, view.turns[:n]), REPLIES, ("rand",) * 6) for n in (1, 3, 5, 7)]
    widths: list[int] = []
    scorer = CandidateScorer(model, prompts)
    hook = model.get_decoder().register_forward_pre_hook(
        lambda _, __, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    run = LeanDecoder.run

    def counted(lean: LeanDecoder, ids_N: torch.Tensor, *rest: Any) -> torch.Tensor:
        widths.append(len(ids_N))
        return run(lean, ids_N, *rest)

    monkeypatch.setattr(LeanDecoder, "run", counted)
    scores = scorer(tasks)
    hook.remove()
    whole = [len(prompts.encode_prompt(task.context)) for task in tasks]
    replied = len({tuple(ids[:n]) for ids in map(prompts.encode_reply, REPLIES) for n in range(1, len(ids))})
    assert widths[0] == whole[0] + replied
    assert all(width - replied < length / 2 for width, length in zip(widths[1:], whole[1:], strict=True))
    for task, own in zip(tasks, scores, strict=True):
        assert own == pytest.approx([plain_score(model, prompts, task.context, reply) for reply in REPLIES], abs=1e-4)


def test_duplicates_tie_exactly(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
    [scores] = CandidateScorer(tiny.model(), tiny.prompts())(tasks_of(dialogues, 1))
    assert scores[0] == scores[5]
    assert len(set(scores)) == 5


def test_many_candidates_are_read_in_several_rows(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompts = tiny.model(), tiny.prompts()
    [task] = tasks_of(dialogues, 1)
    [in_one_row] = CandidateScorer(model, prompts)([task])
    monkeypatch.setattr(candidates, "_ROW_TOKENS", 9)
    monkeypatch.setattr(candidates, "_LOGIT_ROWS", 2)
    assert CandidateScorer(model, prompts)([task])[0] == pytest.approx(in_one_row, abs=1e-5)


def test_a_model_that_ignores_tree_masks_is_read_reply_by_reply(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    model, prompts = tiny.model(), tiny.prompts()
    honoured = CandidateScorer(model, prompts)(tasks_of(dialogues, 2))

    def forget_tree_masks(_module, args, inputs):
        mask = inputs.get("attention_mask")
        return args, {**inputs, "attention_mask": None if mask is not None and mask.dim() == 4 else mask}

    model.get_decoder().register_forward_pre_hook(forget_tree_masks, with_kwargs=True)
    scorer = CandidateScorer(model, prompts)
    assert not scorer.shares_contexts
    for own, expected in zip(scorer(tasks_of(dialogues, 2)), honoured, strict=True):
        assert own == pytest.approx(expected, abs=1e-4)


def test_contexts_longer_than_a_sliding_window_are_read_reply_by_reply(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    model, prompts = tiny.model("mistral"), tiny.prompts()
    model.config.sliding_window = 16
    [task] = tasks_of(dialogues, 1)
    [scores] = CandidateScorer(model, prompts)([task])
    assert scores == pytest.approx([plain_score(model, prompts, task.context, reply) for reply in REPLIES], abs=1e-4)


def test_all_candidates_of_a_task_are_judged_in_the_same_context(tiny: TinyModels) -> None:
    turns = tuple(Turn(("partner", "self")[i % 2], f"I love number {i} and you?") for i in range(9))
    context = Context(Persona(("I have two dogs.",)), turns)
    long = " ".join(["dogs"] * 30)
    model, prompts = tiny.model(), tiny.prompts(max_length=140)
    alone, beside = (
        CandidateScorer(model, prompts)([RankingTask("f:1", context, replies, ("rand",) * len(replies))])[0]
        for replies in (("No.",), ("No.", long))
    )
    shortened = prompts.encode_prompt(context, reserve=len(prompts.encode_reply(long)))
    assert len(shortened) < len(prompts.encode_prompt(context, reserve=len(prompts.encode_reply("No."))))
    assert alone[0] != beside[0]
    plain = CandidateScorer(model, prompts, share_contexts=False)
    assert beside[0] == pytest.approx(plain.score_tokens(shortened, [prompts.encode_reply("No.")])[0], abs=1e-4)


def test_a_candidate_that_never_fits_is_told(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
    task = RankingTask("f:1", dialogues.contexts(1)[0], ("No.", "dogs " * 200), ("gold", "rand"))
    with pytest.raises(UserError, match=r"model\.max_length is 200"):
        CandidateScorer(tiny.model(), tiny.prompts(max_length=200))([task])
