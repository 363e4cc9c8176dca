"""Persona recall: it learns which sentence a line asks for, and the model is shown that one, however it is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from tests.tiny_bert import save_tiny_bert

from personatune.data.recall_lines import RecallLines, written_lines
from personatune.data.written_dialogues import held_out, written_dialogues
from personatune.dialogue import Context, Persona, Turn
from personatune.errors import DamagedFileError, UserError
from personatune.judging.recall import Recall, Recalled, shipped_recall
from personatune.judging.recall.files import save_recall
from personatune.judging.recall.network import RecallNetwork
from personatune.model.generation import Chatbot, Sampling
from personatune.model.narrowed_prompts import NarrowedPrompts
from personatune.pipeline.contenders import load_contender
from personatune.pipeline.flagship import flagship_folder
from personatune.pipeline.recall import lessons as shipped_lessons
from personatune.pipeline.recall import probe_lines
from personatune.pipeline.reply_strategies import split_recall
from personatune.report.evaluation_tables import evaluation_facts
from personatune.training.recall import RecallSettings, RecallTrainer

if TYPE_CHECKING:
    from tests.conftest import TinyModels

_WORDS = "[PAD] [UNK] [CLS] [SEP] i have a dog cat bird job home hello pets work live am nurse in rome ? .".split()
PERSONA = ("i have a dog .", "i am a nurse .", "i live in rome .")
LINES = ("have a pets ?", "job ? work ?", "home ?", "hello .")
GREEDY = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_bert(tmp_path_factory.mktemp("bert"), _WORDS))


def settings(base: str) -> RecallSettings:
    return RecallSettings(base=base, alone=1, rank=8, learning_rate=1e-2, batch_size=2, epochs=40)


def lessons() -> list[RecallLines]:
    """The same three questions to personas in another order each: the place alone tells nothing."""
    made = []
    for turn in range(3):
        order = [*range(turn, 3), *range(turn)]
        places: tuple[int | None, ...] = (*(order.index(place) for place in range(3)), None)
        made.append(RecallLines(tuple(PERSONA[place] for place in order), tuple(zip(LINES, places, strict=True))))
    return made


@pytest.fixture(scope="module")
def trained(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recall")
    network = RecallTrainer(settings(base), lessons()).train()
    save_recall(folder, network.trained_state(), {"base": base, "alone": 1, "rank": 8, "share": 0.5})
    return folder


def asked(line: str, traits: Sequence[str] = PERSONA) -> Context:
    return Context(
        Persona(tuple(traits), "Ann"), (Turn("partner", "hello ."), Turn("self", "."), Turn("partner", line))
    )


def test_it_learns_which_sentence_is_asked_for_and_when_none_is(trained: Path) -> None:
    recall = Recall(trained)
    for place, line in enumerate(LINES[:3]):
        assert recall.narrow(asked(line)).persona == Persona((PERSONA[place],), "Ann")
    assert recall.narrow(asked(LINES[3])) == asked(LINES[3])
    chances = recall.ask(LINES[0], PERSONA)
    assert sum(chances.chances) + chances.none == pytest.approx(1, abs=1e-5)


def test_the_seed_decides_all(base: str, trained: Path) -> None:
    again = RecallTrainer(settings(base), lessons()).train().trained_state()
    kept = Recall(trained)._network.trained_state()
    assert all(torch.equal(again[name].half().float(), kept[name]) for name in kept)
    other = RecallTrainer(replace(settings(base), seed=1), lessons()).train().trained_state()
    assert any(not torch.equal(again[name], other[name]) for name in again)


def test_untrained_it_is_the_encoder_itself(base: str) -> None:
    network = RecallNetwork(base, alone=1)
    with torch.no_grad():
        before = network.vectors(["i have a dog .", "home ?"])
        network.encoder.upper[0].qkv.up.add_(1.0)  # type: ignore[operator, union-attr]
        assert not torch.allclose(before, network.vectors(["i have a dog .", "home ?"]))
    torch.testing.assert_close(before.norm(dim=1), torch.ones(2))
    assert all(".plain." not in name for name in network.trained_state())


def test_what_a_text_is_read_with_changes_nothing(trained: Path) -> None:
    network = Recall(trained)._network
    together = network.vectors(["home ?", "i have a dog . i have a cat . i have a bird ."])
    torch.testing.assert_close(together[:1], network.vectors(["home ?"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("chances", "none", "places"),
    [
        ((0.1, 0.7, 0.1), 0.1, (1,)),  # 0.7 of 0.9
        ((0.1, 0.3, 0.4), 0.2, (1, 2)),  # not sure which: the likeliest stands last
        ((0.1, 0.4, 0.3), 0.2, (2, 1)),
        ((0.2, 0.2, 0.2), 0.1, (1, 0)),  # of equals the first one is likeliest
        ((0.1, 0.2, 0.1), 0.6, (0, 1, 2)),  # none is likelier than any: the whole persona as it is
        ((0.4, 0.1, 0.1), 0.4, (0, 1, 2)),  # a tie is small talk: the whole persona can't be wrong
        ((), 1.0, ()),
    ],
)
def test_the_fewest_sentences_that_hold_the_share_and_the_whole_persona_in_small_talk(
    chances: tuple[float, ...], none: float, places: tuple[int, ...]
) -> None:
    assert Recalled(chances, none).places(share=0.65) == places


def test_with_a_share_of_one_nothing_is_hidden_and_the_likeliest_stands_last() -> None:
    assert Recalled((0.3, 0.4, 0.2), 0.1).places(share=1.0) == (2, 0, 1)


def test_a_persona_of_one_sentence_or_of_none_stays(trained: Path) -> None:
    recall = Recall(trained)
    for traits in ((), PERSONA[:1]):
        assert recall.narrow(asked(LINES[0], traits)) == asked(LINES[0], traits)
    assert recall.narrow(Context(Persona(PERSONA), ())) == Context(Persona(PERSONA), ())


def only_last(context: Context) -> Context:
    return replace(context, persona=Persona(context.persona.traits[-1:], context.persona.name))


def test_a_narrowed_chatbot_says_what_the_narrow_persona_says_in_every_way_of_asking(tiny: TinyModels) -> None:
    model, plain = tiny.model(layers=2, spread=0.15), tiny.prompts()
    bot = Chatbot(model, NarrowedPrompts(plain, only_last, "last"), GREEDY)
    contexts = [asked(line) for line in LINES]
    expected = Chatbot(model, plain, GREEDY)([only_last(context) for context in contexts])
    assert expected != Chatbot(model, plain, GREEDY)(contexts)  # else nothing below could fail
    assert bot(contexts) == expected
    assert bot.in_dialogues()(contexts) == expected
    assert ["".join(bot.stream(context)) for context in contexts] == expected
    assert bot.decoding["persona_by"] == "last"


def test_dialogues_whose_narrowed_persona_changes_are_answered_as_anew(tiny: TinyModels) -> None:
    model, plain = tiny.model(layers=2, spread=0.15), tiny.prompts()

    def by_turn(context: Context) -> Context:
        place = len(context.history) % len(context.persona.traits)
        return replace(context, persona=Persona(context.persona.traits[place : place + 1]))

    held = Chatbot(model, NarrowedPrompts(plain, by_turn, "turn"), GREEDY).in_dialogues()
    context = Context(Persona(PERSONA), (Turn("partner", LINES[0]),))
    for line in LINES[1:]:
        [reply] = held([context])
        assert [reply] == Chatbot(model, plain, GREEDY)([by_turn(context)])
        context = replace(context, history=(*context.history, Turn("self", reply), Turn("partner", line)))


@pytest.mark.parametrize(
    ("reference", "model", "folder"),
    [
        ("sft", "sft", None),
        ("sft+recall", "sft", shipped_recall()),
        ("demo/ppo+recall=some/folder", "demo/ppo", Path("some/folder")),
        ("flagship", "flagship", shipped_recall()),
        ("flagship+plain", "flagship", None),
        ("sft+plain", "sft", None),
        ("flagship+recall=mine", "flagship", Path("mine")),
        ("+recall", "+recall", None),
    ],
)
def test_recall_is_named_behind_the_model(reference: str, model: str, folder: Path | None) -> None:
    assert split_recall(reference) == (model, folder)


def test_a_contender_with_recall_is_another_one_by_the_weights_of_recall(
    tiny: TinyModels, trained: Path, base: str, tmp_path: Path
) -> None:
    folder = tiny.save(tmp_path / "model", layers=2)
    plain, first = load_contender(str(folder)), load_contender(f"{folder}+recall={trained}")
    network = RecallNetwork(base, alone=1, rank=8)
    save_recall(tmp_path / "other", network.trained_state(), json.loads((trained / "recall.json").read_text()))
    second = load_contender(f"{folder}+recall={tmp_path / 'other'}")
    identities = [json.dumps(one.identity, sort_keys=True) for one in (plain, first, second)]
    assert len(set(identities)) == 3
    assert first.identity["persona_by"] == Recall(trained).identity
    assert first.decoding is not None
    assert first.decoding["persona_by"].startswith("recall ")
    assert first.prompts is not None
    assert not isinstance(first.prompts, NarrowedPrompts)  # ranking and perplexity see the whole persona


def test_recall_stands_before_a_choice_of_candidates(
    tiny: TinyModels, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from personatune.model.picking import PickingChatbot
    from personatune.pipeline.reply_strategies import CriticPick

    seen: list[Context] = []

    class First:
        identity = "first"

        def __call__(self, contexts: Sequence[Context], proposed: Sequence[object]) -> list[int]:
            seen.extend(contexts)
            return [0 for _ in contexts]

    monkeypatch.setattr(CriticPick, "load", First)
    folder = tiny.save(tmp_path / "model", layers=2)
    bot = load_contender(f"{folder}+recall={trained}+critic-2", sampling=GREEDY).chatbot
    assert isinstance(bot, PickingChatbot)
    assert bot([asked(LINES[1])]) == Chatbot(bot.model, tiny.prompts(), GREEDY)([asked(LINES[1], PERSONA[1:2])])
    assert seen == [asked(LINES[1])]  # the critic is asked about every sentence


def test_damaged_weights_are_one_clear_line(trained: Path, base: str, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    network = RecallNetwork(base, alone=1, rank=8)
    card = json.loads((trained / "recall.json").read_text())
    save_recall(folder, network.trained_state(), card)
    weights = folder / "recall.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    with pytest.raises(DamagedFileError, match=r"not the weights that recall.json beside it tells of .*recall train"):
        Recall(folder)
    weights.unlink()
    with pytest.raises(DamagedFileError, match=r"recall.safetensors: .*expected the weights of persona recall"):
        Recall(folder)
    (folder / "recall.json").write_text('{"base": "embedded"}')
    with pytest.raises(DamagedFileError, match="no alone in it"):
        Recall(folder)
    with pytest.raises(UserError, match="no persona recall there"):
        Recall(tmp_path)


def test_weights_of_another_rank_are_refused(base: str, tmp_path: Path) -> None:
    network = RecallNetwork(base, alone=1, rank=4)
    save_recall(tmp_path, network.trained_state(), {"base": base, "alone": 1, "rank": 8, "share": 0.5})
    with pytest.raises(UserError, match="doesn't fit this network"):
        Recall(tmp_path)


def test_it_learns_from_nothing_that_is_kept_for_measuring() -> None:
    learnt = [one for part in shipped_lessons().values() for one in part]
    traits = {trait for one in learnt for trait in one.traits}
    for split in ("validation", "test"):
        for lines in probe_lines(split):
            assert not traits.intersection(lines.traits)
    kept = [one for one in written_dialogues() if held_out(one)]
    assert kept
    known = {one.traits for one in learnt}
    assert not any(one.view.persona.traits in known for one in kept)
    assert len(learnt) > 700


def test_a_written_line_asks_for_what_its_reply_rests_on() -> None:
    [first] = [one for one in written_dialogues() if one.view.id == "written/everyday_chat/1"]
    [lines] = written_lines([first])
    found = dict(lines.lines)
    assert found["Hi there, how are you doing today?"] is None
    assert lines.traits[found["That sounds nice. Do you come from a big family?"] or 0] == "I have two brothers."


def test_the_shipped_recall_is_small_and_beats_the_encoder_it_came_from() -> None:
    sizes = [file.stat().st_size for folder in (shipped_recall(), flagship_folder()) for file in folder.iterdir()]
    assert sum(sizes) < 12e6
    assert sum(file.stat().st_size for file in shipped_recall().iterdir()) < 1.5e6
    recall = Recall(shipped_recall())
    persona = ("I drive a night tram in Gothenburg.", "I put fish sauce on everything.", "I have a one-eyed cat.")
    asked_for = {
        "How do you pay your bills?": persona[0],
        "Who meets you at the door?": persona[2],
        "What goes into your soup?": persona[1],
    }
    for line, trait in asked_for.items():
        shown = recall.narrow(asked(line, persona)).persona.traits
        assert shown[-1] == trait
        assert len(shown) < len(persona)
    for line in ("Hello! How are you today?", "Haha, nice.", "Thanks for telling me."):
        assert recall.narrow(asked(line, persona)).persona.traits == persona
    measured = recall.card["measured"]
    assert measured["first"] > 0.7  # the untrained encoder: 0.67
    assert measured["small talk narrowed"] < 0.1


def test_a_report_tells_who_narrowed_the_persona() -> None:
    settings = {
        "decoding": {"temperature": 0.0, "persona_by": "recall 1a2b, 0.9 of the chances"},
        "prompt": "ChatPrompt",
    }
    rows = [{"contender": "sft+recall", "settings": {**settings, "seed": 0, "tokenizer": "tiny"}}]
    evaluation = {
        "benchmarks": [{"name": "probes", "rows": rows}],
        "judges": {"judge": None, "why_no_judge": "none", "encoder": None, "why_no_encoder": "none"},
        "pool": {"replies": 0, "source": "nothing"},
        "bootstrap_samples": 100,
    }
    [line, *_] = evaluation_facts(evaluation)
    assert line.startswith("sft+recall on probes: temperature 0, persona_by recall 1a2b, 0.9 of the chances; seed 0")
