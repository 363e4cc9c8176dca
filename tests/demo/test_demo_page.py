"""What the page shows of each action, and the chat as files that other commands read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from personatune.data.processing import DataProcessor
from personatune.data.sources import DatasetLoader
from personatune.demo.page import Page, exchange_at
from personatune.demo.tab import Tab, side, sides
from personatune.settings import DataConfig

if TYPE_CHECKING:
    from tests.demo.conftest import ScriptedShelf

DOGS = "I walk my two dogs every day."


@pytest.fixture
def tab(page: Page) -> Tab:
    found = page.new_tab()
    page.begin(found, "I have two dogs.\nI am a chef.\nI live in Rome.")
    return found


def test_the_box_is_emptied_at_once_and_marks_come_with_the_end(page: Page, tab: Tab) -> None:
    views = list(page.say(tab, "Any pets?", "dogs", False))
    assert views[0].box == ""
    assert [(one.role, one.text) for one in views[0].messages] == [("user", "Any pets?"), ("assistant", "…")]
    assert views[2].messages[-1] == ("assistant", "I walk", "")
    assert all(view.gauge is None for view in views[:-1])
    last = views[-1]
    assert '<mark class="pt-expressed">dogs</mark>' in last.messages[-1].html
    assert last.gauge is not None
    assert "1 of 1 replies contradict nothing" in last.gauge
    assert last.ratings == [None]


def test_words_that_bring_no_reply_return_to_the_box(page: Page, tab: Tab) -> None:
    *_, last = page.say(tab, "silent now", "dogs", False)
    assert (last.box, last.messages) == ("silent now", [])
    assert "the model ended at once" in last.line
    *_, last = page.say(tab, "   ", "dogs", False)
    assert "nothing said" in last.line
    *_, last = page.say(tab, "x" * 5000, "dogs", False)
    assert "5,000 characters at once" in last.line


def test_another_model_and_the_switch_hold_for_the_next_reply(page: Page, tab: Tab, shelf: ScriptedShelf) -> None:
    for model, rerank in (("dogs", False), ("echo", True)):
        list(page.say(tab, "Hi", model, rerank))
    list(page.retry(tab, -1, "dogs", False))
    assert [(name, rerank) for name, _, _, rerank in shelf.asked] == [
        ("dogs", False), ("echo", True), ("dogs", False),
    ]  # fmt: skip


def test_messages_are_found_by_their_place_with_and_without_a_greeting(page: Page, tab: Tab) -> None:
    for text in ("a", "b"):
        list(page.say(tab, text, "dogs", False))
    assert [exchange_at(tab, index) for index in range(4)] == [0, 0, 1, 1]
    view = page.undo(tab, 1)
    assert (view.box, len(view.messages)) == ("b", 2)
    view = page.rate(tab, 0, True)
    assert view.ratings == [True]
    assert "Saved" in view.line


def test_a_greeting_can_not_be_rated(page: Page, tab: Tab, tmp_path: Path) -> None:
    data = {"name": "Mara", "description": "She is a smith.", "first_mes": "Hello!"}
    file = tmp_path / "card.json"
    file.write_text(json.dumps({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}), encoding="utf-8")
    text, _ = page.import_card(tab, str(file), "")
    page.begin(tab, text or "")
    list(page.say(tab, "a", "dogs", False))
    assert [exchange_at(tab, index) for index in range(3)] == [1, 0, 0]
    assert "no reply there yet" in page.rate(tab, exchange_at(tab, 0), True).line
    assert page.chat_view(tab).ratings == [None]


def test_a_retry_without_a_reply_is_a_message(page: Page, tab: Tab) -> None:
    [view] = page.retry(tab, -1, "dogs", False)
    assert "nothing to retry" in view.line
    assert "nothing to take back" in page.undo(tab).line


def test_two_tabs_share_nothing_but_models_and_votes(page: Page) -> None:
    one, other = page.new_tab(), page.new_tab()
    page.begin(other, "I am a smith.")
    list(page.say(one, "Any pets?", "dogs", False))
    assert page.chat_view(other).messages == []
    assert page.persona_shown(one) != page.persona_shown(other)


def test_a_persona_is_not_changed_under_a_reply(page: Page, tab: Tab) -> None:
    views = page.say(tab, "Any pets?", "dogs", False)
    next(views)
    next(views)
    assert "a reply is being written" in page.begin(tab, "I am a smith.")
    assert "a reply is being written" in list(page.say(tab, "More", "dogs", False))[-1].line
    list(views)
    assert len(tab.chat.session.exchanges) == 1


def test_a_conversation_is_forgotten_as_a_whole_and_votes_stay(page: Page, tab: Tab) -> None:
    list(page.say(tab, "Any pets?", "dogs", False))
    page.rate(tab, 0, True)
    assert page.forget(tab).messages == []
    assert tab.chat.voices == []
    list(page.challenge(tab, "Hi", "dogs", "echo"))
    page.vote(tab, "A")
    list(page.challenge(tab, "Hi", "dogs", "echo"))
    assert page.forget_duel(tab).left == []
    assert page.ballots.file.exists()
    assert page.ballots.ratings_file.exists()
    views = page.say(tab, "Any pets?", "dogs", False)
    next(views)
    next(views)
    assert "a reply is being written" in page.forget(tab).line


def test_an_export_is_read_as_a_dialogue_and_tells_all_marks(page: Page, tab: Tab) -> None:
    assert "nothing to export" in page.export(tab)[1]
    for text in ("Any pets?", "Any cats?"):
        list(page.say(tab, text, "dogs", False))
    page.rate(tab, 0, True)
    files, _ = page.export(tab)
    assert [Path(file).name for file in files] == ["chat.json", "chat.txt", "chat.dialogues.jsonl"]
    record = json.loads(Path(files[0]).read_text(encoding="utf-8"))
    assert [turn["marks"][0]["verdict"] for turn in record["turns"]] == ["expressed", "contradicted"]
    assert (record["turns"][0]["liked"], record["turns"][1]["contradicts_replies"]) == (True, [1])
    text = Path(files[1]).read_text(encoding="utf-8")
    assert "you> Any pets?\nbot> I walk my two dogs every day.\n     expressed" in text
    loaded = DatasetLoader(files[2]).load()
    [dialogue] = loaded.dialogues
    assert len(DataProcessor(DataConfig(), seed=0).process(loaded).train) == 1  # what `data inspect` does
    assert dialogue.personas["self"] == tab.persona
    assert [turn.text for turn in dialogue.seen_by("self").turns] == [
        "Any pets?", DOGS, "Any cats?", "I have three cats at home.",
    ]  # fmt: skip


def test_each_model_can_play_re_ranked(shelf: ScriptedShelf) -> None:
    assert sides(shelf) == ["dogs", "dogs+critic", "echo", "echo+critic"]
    assert [side(name, shelf) for name in sides(shelf)][:2] == [("dogs", False), ("dogs", True)]
