"""Decoding over the turns of a dialogue: only what is new is encoded, and own words are not said twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from torch import Tensor

from personatune.dialogue import Context, Respond, Turn
from personatune.model.generation import Chatbot, Sampling, generate_replies
from personatune.model.kept_prompts import KeptPrompts
from personatune.model.lean_decoder import LeanDecoder

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

LINES = ("Hello there!", "What do you do for a living?", "Where is home for you?")


def hold(respond: Respond, contexts: list[Context]) -> list[list[str]]:
    """Let a bot answer all lines in every dialogue; returns the replies turn by turn."""
    said = []
    for line in LINES:
        contexts = [Context(one.persona, (*one.history, Turn("partner", line))) for one in contexts]
        replies = respond(contexts)
        pairs = zip(contexts, replies, strict=True)
        contexts = [Context(one.persona, (*one.history, Turn("self", reply))) for one, reply in pairs]
        said.append(replies)
    return said


def openings(dialogues: type[HandMadeDialogues]) -> list[Context]:
    return [Context(view.persona, ()) for view in dialogues.perspectives(5)]


def test_dialogues_that_encode_only_what_is_new_get_the_same_replies(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], family: str
) -> None:
    model = tiny.model(family)
    whole = Chatbot(model, tiny.prompts(), Sampling(8), batch_size=3)
    kept = Chatbot(model, tiny.prompts(), Sampling(8), batch_size=3)
    assert hold(kept.in_dialogues(), openings(dialogues)) == hold(whole, openings(dialogues))
    assert kept.tokens_generated == whole.tokens_generated


def test_a_history_that_was_shortened_is_encoded_anew_where_it_differs(tiny: TinyModels) -> None:
    model = tiny.model()
    kept = KeptPrompts()
    for prompts in ([[5, 9, 40, 77], [8, 8]], [[5, 9, 41, 12, 13, 14], [8, 8, 30]], [[5], [8, 8, 30, 31, 32, 33]]):
        ours = generate_replies(model, prompts, [2], Sampling(6), kept=kept)
        plain = generate_replies(model, prompts, [2], Sampling(6))
        assert [reply.ids for [reply] in ours] == [reply.ids for [reply] in plain]


def test_dialogues_that_are_over_leave_the_others_what_they_had(
    tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model()
    encoded: list[int] = []
    run = LeanDecoder.run

    def counted(lean: LeanDecoder, ids_N: Tensor, *rest: Any) -> Tensor:
        encoded.append(len(ids_N))
        return run(lean, ids_N, *rest)

    monkeypatch.setattr(LeanDecoder, "run", counted)
    prompts = [[5, 9, 40 + row, *range(60, 90)] for row in range(6)]
    kept = KeptPrompts()
    for rows in ([0, 1, 2, 3, 4, 5], [1, 3, 4], [4], [4, 1]):
        replies = generate_replies(model, [prompts[row] for row in rows], [], Sampling(5), kept=kept)
        plain = generate_replies(model, [prompts[row] for row in rows], [], Sampling(5))
        assert [reply.ids for [reply] in replies] == [reply.ids for [reply] in plain]
        for row, [reply] in zip(rows, replies, strict=True):
            prompts[row] = [*prompts[row], *reply.ids, 7, 8]
        encoded.clear()
        generate_replies(model, [prompts[row] for row in rows], [], Sampling(1), kept=kept)
        assert encoded == [3 * len(rows)]  # the last token of the reply and what is behind it


def test_own_words_are_not_said_twice_but_the_prompts_may_be(tiny: TinyModels) -> None:
    model = tiny.model()
    prompt = [5, 9, 40, 77, 120]
    [[free]] = generate_replies(model, [prompt], [], Sampling(12))
    [[other]] = generate_replies(model, [prompt], [], Sampling(12, no_repeat_ngram=3), said=[[free.ids]])
    before = {tuple(free.ids[start : start + 3]) for start in range(10)}
    after = [tuple(other.ids[start : start + 3]) for start in range(10)]
    assert not before & set(after)
    assert len(set(after)) == len(after), "nor within the reply itself"
    taken_up = [*prompt, *free.ids]  # the same words said by the partner bind nobody
    [[plain]] = generate_replies(model, [taken_up], [], Sampling(3))
    [[heard]] = generate_replies(model, [taken_up], [], Sampling(3, no_repeat_ngram=3), said=[[]])
    assert heard.ids == plain.ids
