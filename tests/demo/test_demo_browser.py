"""The demo in a real browser: headless Chromium, driven as a visitor would."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from personatune.demo.page import Page as Demo
from personatune.demo.server import serve

pytest.importorskip("gradio", reason="needs the extra 'demo'")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra 'dev')")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed (Debian: apt-get install chromium)"),
]

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page
    from tests.demo.conftest import Gate, ScriptedShelf

PATIENCE = 60_000  # milliseconds; a busy machine is slow
HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1"> **b** ${window.hacked=1} {{7*7}} $$x$$'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def address(page: Demo) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    blocks = serve(page, "127.0.0.1", port)
    yield f"http://127.0.0.1:{port}/"
    blocks.close()


def visit(browser: Browser, address: str, width: int = 1200, height: int = 900) -> Page:
    tab = browser.new_context(viewport={"width": width, "height": height}).new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(address)
    tab.locator(".pt-persona li").first.wait_for()
    return tab


def begin(tab: Page, persona: str) -> None:
    tab.get_by_text("Another persona").click()
    tab.locator("#pt-text textarea").fill(persona)
    tab.locator("#pt-begin").click()
    tab.get_by_text("A new conversation has begun.").wait_for()


def say(tab: Page, text: str) -> None:
    tab.locator("#pt-say textarea").fill(text)
    tab.locator("#pt-send").click()


def marked(tab: Page, count: int, where: str = "#pt-chat") -> Any:
    found = tab.locator(f"{where} .pt-reply")
    playwright.expect(found).to_have_count(count, timeout=PATIENCE)
    return found


def test_write_a_persona_chat_see_the_marks_retry_and_take_back(browser: Browser, address: str, page: Demo) -> None:
    tab = visit(browser, address)
    begin(tab, "I have two dogs.\nI am a chef.")
    say(tab, "Any pets?")
    reply = marked(tab, 1).first
    assert reply.inner_text().startswith("I walk my two dogs every day.")
    assert reply.locator("mark.pt-expressed").all_inner_texts() == ["two", "dogs"]
    assert "✓ expresses I have two dogs." in reply.inner_text()
    assert "1 of 1 replies contradict nothing" in tab.locator("#pt-gauge").inner_text()
    say(tab, "Any cats?")
    second = marked(tab, 2).nth(1)
    assert "✗ contradicts I have two dogs." in second.inner_text()
    assert tab.locator("#pt-gauge circle.pt-dot-contradicting").count() == 1
    tab.locator("#pt-chat").get_by_label("dislike", exact=False).last.click()
    tab.get_by_text("Retry, and like a better reply").wait_for()
    tab.locator("#pt-undo").click()
    marked(tab, 1)
    assert tab.locator("#pt-say textarea").input_value() == "Any cats?"
    ratings = [json.loads(line) for line in page.ballots.ratings_file.read_text(encoding="utf-8").splitlines()]
    assert [(row["reply"], row["liked"]) for row in ratings] == [("I have three cats at home.", False)]
    tab.context.close()


def test_a_blind_vote_is_saved_and_tells_who_was_who(browser: Browser, address: str, page: Demo) -> None:
    tab = visit(browser, address)
    tab.get_by_role("tab", name="Side by side, blind").click()
    tab.locator("#pt-vote-a").click()
    tab.get_by_text("nothing to vote on yet").wait_for()
    tab.locator("#pt-duel-say textarea").fill("Any pets?")
    tab.locator("#pt-duel-send").click()
    tab.get_by_text("Which reply is better?").wait_for()
    assert tab.locator("#pt-left .pt-reply").count() == 0  # no marks that sway
    tab.locator("#pt-vote-b").click()
    told = tab.get_by_text("Saved as a preference pair.")
    told.wait_for()
    assert "A was " in told.inner_text()
    marked(tab, 1, "#pt-left")
    marked(tab, 1, "#pt-right")
    [row] = [json.loads(line) for line in page.ballots.file.read_text(encoding="utf-8").splitlines()]
    assert row["kind"] == "vote"
    tab.context.close()


def test_hostile_text_is_shown_and_never_run(browser: Browser, address: str, tmp_path: Path) -> None:
    tab = visit(browser, address)
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    tab.on("dialog", note)
    begin(tab, f"I have two dogs.\n{HOSTILE}")
    assert HOSTILE in tab.locator(".pt-persona").inner_text()
    tab.locator("#pt-model input").click()
    tab.get_by_role("option", name="echo").click()
    say(tab, HOSTILE)
    reply = marked(tab, 1).first
    assert f"You said: {HOSTILE}" in reply.inner_text()
    assert HOSTILE in tab.locator("#pt-chat .user").first.inner_text()
    assert tab.evaluate("window.hacked") is None
    data = {"name": HOSTILE, "description": f"{HOSTILE}. She has two dogs.", "first_mes": f"Hi {HOSTILE}"}
    card = tmp_path / "<img src=x onerror=window.hacked=1>.json"
    card.write_text(json.dumps({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}), encoding="utf-8")
    tab.locator("input[type=file]").first.set_input_files(card)
    tab.get_by_text("persona sentences").first.wait_for()
    tab.locator("#pt-begin").click()
    tab.locator("#pt-chat .bot").first.wait_for()
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("#pt-chat img, .pt-shown img, #pt-chat script").count() == 0
    assert dialogs == []
    tab.context.close()


def test_a_browser_that_reloads_mid_reply_cancels_it_and_begins_anew(
    browser: Browser, address: str, shelf: ScriptedShelf, gate: Gate
) -> None:
    tab = visit(browser, address)
    shelf.pace = gate
    gate.let(2)
    say(tab, "Any pets?")
    tab.locator("#pt-chat").get_by_text("I walk").wait_for()
    tab.reload()
    tab.locator(".pt-persona li").first.wait_for()
    gate.let(100)
    tab.wait_for_timeout(2000)
    assert shelf.given <= 4
    assert tab.locator("#pt-chat .pt-reply").count() == 0
    say(tab, "Any pets?")
    marked(tab, 1)
    tab.context.close()


def test_stop_keeps_what_was_shown(browser: Browser, address: str, shelf: ScriptedShelf, gate: Gate) -> None:
    tab = visit(browser, address)
    shelf.pace = gate
    gate.let(2)
    say(tab, "Any pets?")
    tab.locator("#pt-chat").get_by_text("I walk").wait_for()
    tab.locator("#pt-stop").click()
    tab.wait_for_timeout(500)
    gate.let(1)
    reply = marked(tab, 1).first
    assert reply.locator(".pt-text").inner_text() in ("I walk", "I walk my")
    tab.context.close()


def test_two_tabs_at_once_do_not_mix(browser: Browser, address: str) -> None:
    one, other = visit(browser, address), visit(browser, address)
    begin(one, "I have two dogs.")
    begin(other, "I am a smith.")
    say(one, "Any pets?")
    say(other, "Any cats?")
    assert marked(one, 1).first.inner_text().startswith("I walk my two dogs")
    assert marked(other, 1).first.inner_text().startswith("I have three cats")
    assert "smith" not in one.locator(".pt-persona").inner_text()
    for tab in (one, other):
        tab.context.close()


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, address: str) -> None:
    tab = visit(browser, address, 390, 844)
    say(tab, "Any pets? " + "x" * 200)
    marked(tab, 1)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for button in ("#pt-send", "#pt-retry", "#pt-undo", "#pt-stop", "#pt-export"):
        box = tab.locator(button).bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    tab.get_by_role("tab", name="Side by side, blind").click()
    left, right = (tab.locator(name).bounding_box() for name in ("#pt-left", "#pt-right"))
    assert left is not None
    assert right is not None
    assert right["y"] >= left["y"] + left["height"]  # below, not beside
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.context.close()


def test_the_chat_is_exported_as_files(browser: Browser, address: str) -> None:
    tab = visit(browser, address)
    tab.locator("#pt-export").click()
    tab.get_by_text("nothing to export").wait_for()
    say(tab, "Any pets?")
    marked(tab, 1)
    tab.locator("#pt-export").click()
    links = tab.locator("#pt-files a[download]")
    playwright.expect(links).to_have_count(3, timeout=PATIENCE)
    with tab.expect_download() as download:
        links.first.click()
    assert json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["turns"][0]["said"] == "Any pets?"
    tab.context.close()


def test_an_earlier_line_is_edited_in_place(browser: Browser, address: str) -> None:
    tab = visit(browser, address)
    say(tab, "Any pets, 1 < 2 & so on?")
    marked(tab, 1)
    say(tab, "And your job?")
    marked(tab, 2)
    chat = tab.locator("#pt-chat")
    chat.get_by_label("Edit").first.click()
    chat.locator("textarea").first.fill("Any cats, 2 > 1?")
    chat.get_by_label("Submit").first.click()
    tab.get_by_text("I have three cats at home.").first.wait_for()
    assert marked(tab, 1).first.inner_text().startswith("I have three cats at home.")
    assert "Any cats, 2 > 1?" in chat.locator(".user").first.inner_text()
    tab.context.close()


def test_nothing_is_fetched_from_elsewhere(browser: Browser, address: str) -> None:
    tab = browser.new_context().new_page()
    tab.set_default_timeout(PATIENCE)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.locator(".pt-persona li").first.wait_for()
    say(tab, "Any pets?")
    marked(tab, 1)
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    tab.context.close()
