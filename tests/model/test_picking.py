"""A chatbot that chooses among candidates: the plain reply is one of them, and what picks decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
import torch

from personatune.dialogue import Context, Turn
from personatune.model.generation import Chatbot, Sampling, generate_replies
from personatune.model.picking import Candidate, Pick, PickingChatbot

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

GREEDY = Sampling(max_new_tokens=8)


def always(place: int) -> Pick:
    return lambda contexts, proposed: [place for _ in contexts]


def bot(tiny: TinyModels, pick: Pick, candidates: int = 4, batch_size: int = 16) -> PickingChatbot:
    model = tiny.model(layers=2, spread=0.15)
    return PickingChatbot(
        model, tiny.prompts(), GREEDY, pick, candidates=candidates, name="mine", batch_size=batch_size, seed=3
    )


def test_the_first_candidate_is_what_plain_decoding_says(tiny: TinyModels, dialogues: type[HandMadeDialogues]) -> None:
    contexts = dialogues.contexts(5, seed=1)
    plain = Chatbot(tiny.model(layers=2, spread=0.15), tiny.prompts(), GREEDY)
    assert bot(tiny, always(0), batch_size=2)(contexts) == plain(contexts)
    assert bot(tiny, always(0)).in_dialogues()(contexts) == plain(contexts)
    assert bot(tiny, always(3))(contexts) != plain(contexts)


def test_candidates_are_as_many_as_asked_with_the_models_own_likelihood(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    chatty = bot(tiny, always(0), candidates=5, batch_size=6)
    contexts = dialogues.contexts(3, seed=1)
    proposed = chatty.propose(contexts, torch.Generator().manual_seed(1))
    assert [len(group) for group in proposed] == [5, 5, 5]
    assert len({one.text for group in proposed for one in group}) > 8
    assert chatty.tokens_generated > 15
    prompt = chatty.prompts.encode_prompt(contexts[1], GREEDY.max_new_tokens)
    [[greedy]] = generate_replies(chatty.model, [prompt], chatty.prompts.stop_ids, GREEDY)
    ids = torch.tensor([*prompt, *greedy.ids])
    with torch.no_grad():
        logprobs = torch.log_softmax(chatty.model(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1], dim=-1)
    expected = logprobs.gather(1, ids[len(prompt) :, None]).mean()
    assert proposed[1][0].logprob == pytest.approx(float(expected), abs=1e-4)


def test_what_is_picked_sees_each_contexts_own_candidates_and_its_choice_is_said(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    seen: list[tuple[Context, Sequence[Candidate]]] = []

    def longest(contexts: Sequence[Context], proposed: Sequence[Sequence[Candidate]]) -> list[int]:
        seen.extend(zip(contexts, proposed, strict=True))
        return [max(range(len(group)), key=lambda place: len(group[place].text)) for group in proposed]

    contexts = dialogues.contexts(5, seed=1)
    replies = bot(tiny, longest, batch_size=2)(contexts)
    expected = {str(context): max((one.text for one in group), key=len) for context, group in seen}
    assert replies == [expected[str(context)] for context in contexts]


def test_a_dialogue_goes_on_from_what_was_said_and_one_seed_says_the_same_again(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    def held(picking: PickingChatbot) -> list[list[str]]:
        respond = picking.in_dialogues(seed=7)
        contexts = dialogues.contexts(3, seed=1)
        lines = []
        for _ in range(2):
            replies = respond(contexts)
            lines.append(replies)
            contexts = [
                Context(context.persona, (*context.history, Turn("self", reply), Turn("partner", "And then?")))
                for context, reply in zip(contexts, replies, strict=True)
            ]
        return lines

    assert held(bot(tiny, always(2))) == held(bot(tiny, always(2)))
    plain = Chatbot(tiny.model(layers=2, spread=0.15), tiny.prompts(), GREEDY)
    respond, contexts = plain.in_dialogues(), dialogues.contexts(3, seed=1)
    assert held(bot(tiny, always(0)))[0] == respond(contexts)


def test_the_stream_is_the_reply_and_the_strategy_stands_beside_its_decoding(
    tiny: TinyModels, dialogues: type[HandMadeDialogues]
) -> None:
    [context] = dialogues.contexts(1, seed=1)
    assert "".join(bot(tiny, always(0)).stream(context)) == bot(tiny, always(0))([context])[0]
    assert bot(tiny, always(0)).decoding == {**GREEDY.to_json(), "strategy": "mine"}
    with pytest.raises(ValueError, match="0 candidates"):
        bot(tiny, always(0), candidates=0)
