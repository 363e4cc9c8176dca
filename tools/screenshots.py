"""Shoot the documentation's screenshots anew: from a character card to a chat in the browser, with the shipped model.

    python tools/screenshots.py                    # all of them, into docs/images
    python tools/screenshots.py --only phone dark

Makes a card with `personatune cards`, starts `personatune demo`, and drives it in headless Chromium as a visitor would.
Replies are the likeliest ones (`--temperature 0`), so that the same model gives the same pictures. Needs the extras
"demo" and "dev", and Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
MOST_BYTES = 150_000
PATIENCE = 300_000  # milliseconds: a small model on a busy machine
CARD = "I have a tortoise called Humphrey. | I repair church organs. | I live in Bergen. | I've never seen a desert."
LINES = ("Do you have any pets?", "What do you do for a living?", "Where do you live?")
DESKTOP, PHONE = (1200, 900), (390, 844)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument("--only", nargs="+", choices=SHOTS, default=list(SHOTS))
    chosen = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        card = Path(folder) / "wilma.png"
        words = ["cards", "convert", str(card), "--persona", CARD, "--name", "Wilma"]
        subprocess.run([sys.executable, "-m", "personatune", *words], check=True, capture_output=True)
        with running_demo(Path(folder)) as address:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for name in chosen.only:
                save(SHOTS[name](Stage(browser, address, card)), chosen.out / f"demo-{name}.png")
            browser.close()


class Stage:
    """What a shot works with."""

    def __init__(self, browser: Browser, address: str, card: Path) -> None:
        self.browser, self.address, self.card = browser, address, card

    def visit(self, size: tuple[int, int] = DESKTOP, *, dark: bool = False, scale: int = 1) -> Page:
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            device_scale_factor=scale,
        )
        tab = context.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(self.address)
        tab.locator(".pt-persona li").first.wait_for()
        return tab

    def take_card(self, tab: Page) -> None:
        """Import the card; its sentences stand in the box to be edited."""
        tab.get_by_text("Another persona").click()
        tab.locator("input[type=file]").first.set_input_files(self.card)
        tab.get_by_text("persona sentences").first.wait_for()

    def begin(self, tab: Page) -> None:
        self.take_card(tab)
        tab.locator("#pt-begin").click()
        tab.get_by_text("A new conversation has begun.").wait_for()
        tab.get_by_text("Another persona").click()  # closed again

    def chat(self, tab: Page, lines: tuple[str, ...] = LINES) -> None:
        for number, line in enumerate(lines, start=1):
            tab.locator("#pt-say textarea").fill(line)
            tab.locator("#pt-send").click()
            tab.locator(f"#pt-chat .pt-reply >> nth={number - 1}").wait_for()
        tab.wait_for_timeout(1000)  # the last marks, the plot

    def chat_seen_whole(self, tab: Page) -> None:
        """Chat in a box that is tall enough for all turns: it scrolls in use, and a picture can't."""
        tab.add_style_tag(content="#pt-chat { height: 660px !important; }")
        self.chat(tab)


def shoot(tab: Page, *, whole: bool = True) -> bytes:
    tab.mouse.move(0, 0)
    tab.evaluate("document.activeElement && document.activeElement.blur()")
    tab.wait_for_timeout(500)
    picture = tab.screenshot(full_page=whole)
    tab.context.close()
    return picture


def start(stage: Stage) -> bytes:
    """The page as it opens."""
    return shoot(stage.visit())


def card(stage: Stage) -> bytes:
    """An imported card: its sentences, to be edited."""
    tab = stage.visit()
    stage.take_card(tab)
    return shoot(tab)


def desktop(stage: Stage) -> bytes:
    """A chat of three turns with its marks and figures."""
    tab = stage.visit()
    stage.begin(tab)
    stage.chat_seen_whole(tab)
    return shoot(tab)


def duel(stage: Stage) -> bytes:
    """Two models side by side, before the vote."""
    return shoot(_challenged(stage))


def vote(stage: Stage) -> bytes:
    """The same after the vote: who was who, and the marks."""
    tab = _challenged(stage)
    tab.locator("#pt-vote-a").click()
    tab.get_by_text("Saved as a preference pair.").wait_for()
    tab.locator("#pt-right .pt-reply").first.wait_for()
    return shoot(tab)


def phone(stage: Stage) -> bytes:
    """A chat on a phone's width."""
    tab = stage.visit(PHONE, scale=2)
    stage.begin(tab)
    stage.chat(tab)
    tab.locator("#pt-chat").scroll_into_view_if_needed()
    return shoot(tab, whole=False)


def dark(stage: Stage) -> bytes:
    """A chat in the dark."""
    tab = stage.visit(dark=True)
    stage.begin(tab)
    stage.chat_seen_whole(tab)
    return shoot(tab)


def _challenged(stage: Stage) -> Page:
    tab = stage.visit()
    stage.begin(tab)
    tab.get_by_role("tab", name="Side by side, blind").click()
    tab.locator("#pt-duel-say textarea").fill(LINES[0])
    tab.locator("#pt-duel-send").click()
    tab.get_by_text("Which reply is better?").wait_for()
    return tab


SHOTS: dict[str, Callable[[Stage], bytes]] = {
    "start": start,
    "card": card,
    "desktop": desktop,
    "duel": duel,
    "vote": vote,
    "phone": phone,
    "dark": dark,
}


@contextmanager
def running_demo(folder: Path) -> Iterator[str]:
    """Start the demo in a folder, where its votes go; yield its address when it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--temperature", "0", "--port", str(port)]
    with subprocess.Popen(
        [sys.executable, "-m", "personatune", "demo", *options], cwd=folder, text=True, stdout=subprocess.PIPE
    ) as demo:
        try:
            if not any("http://" in line for line in demo.stdout or ()):
                sys.exit("the demo ended before it was ready")
            yield f"http://127.0.0.1:{port}/"
        finally:
            demo.terminate()


def save(picture: bytes, target: Path) -> None:
    """Write a picture with a palette of 256 colours: text stays sharp, and it takes a third."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    size = target.stat().st_size
    print(f"{target.name}: {image.width} x {image.height}, {size:,} bytes")
    if size > MOST_BYTES:
        sys.exit(f"{target.name}: more than {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    main()
