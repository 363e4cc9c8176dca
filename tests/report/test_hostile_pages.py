"""Whatever people, models and data say, a page has the structure it has with harmless words, and says it as it was.

Markdown is read with two parsers: CommonMark's (with tables and strikethrough, as hubs and editors read it) and the one
that builds this project's documentation.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import markdown  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.report.conftest import HOSTILE, write_tiny_run

from personatune.dialogue import Persona, Probe, ProbeScript
from personatune.evaluation.judged import Contradiction, JudgedDialogue
from personatune.judging.probes import ProbeDialogue
from personatune.plain_text import markdown_text, plain_text, whole_characters
from personatune.report.build import build_report, collect_report
from personatune.report.markdown import as_markdown
from personatune.report.model_card import model_card
from personatune.report.model_use import card_for_form
from personatune.report.transcript_page import transcript_page
from personatune.training.tensorboard_tracker import _markdown_table

NASTY = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</td></tr></table>", "<!-- ", "&lt;b&gt; &#60;b>",
    "# Title", "## ", "- item", "+ item", "* item", "1. item", "12) item", "> quote", "---", "- - -", "***", "===",
    "```", "~~~", "    code", "| a | b |", "|---|---|", "a | b", "**b** _i_ __b__ *i*", "~~gone~~", "`code`",
    "[x](javascript:alert(1))", "![x](http://x/y.png)", "[x]: http://evil", "[^1]", "$$x$$ $x$",
    "{: onclick=alert(1) }", "{{ 7*7 }} {% raw %}", "a\n\nb", "a\n# b", "a  \nb", "a\\\nb", "\\", "\\*x\\*",
    "x\x1b[31my\x1b]0;t\x07", "\u202eevil\u2066", "\x00a", "a\ud800b", "a\u2028# b", "<http://x>",
    ":smile: *[HTML]: x", "!!! note", "??? x", "=== \"tab\"", "a:\n: b", "-3 degrees", "0.5", "(c)",
)  # fmt: skip
hostile = st.one_of(
    st.sampled_from(NASTY),
    st.lists(st.sampled_from(NASTY) | st.text(st.characters(), max_size=6), min_size=1, max_size=4).map("".join),
).filter(lambda text: bool(plain_text(text).split()))  # fmt: skip

_COMMON = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_DOCS = ("tables", "fenced_code", "attr_list", "footnotes", "def_list", "admonition", "abbr", "md_in_html")


class _Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> list[_Elements]:
    """Return what either Markdown parser makes of a page."""
    return [_Elements(_COMMON.render(page)), _Elements(markdown.markdown(page, extensions=list(_DOCS)))]


def said(text: str) -> str:
    return " ".join(plain_text(text).split())


def check(page: str, harmless: str, *texts: str) -> None:
    """Compare a page with the one whose texts are all "word"; every text must stand in it as it was said."""
    for found, plain in zip(read(page), read(harmless), strict=True):
        assert found.elements == plain.elements
        shown = " ".join(found.text.split())
        assert all(said(text) in shown for text in texts)


@settings(deadline=None)
@given(text=hostile)
@pytest.mark.parametrize(
    "page",
    [
        "# {}",
        "{}",
        "- {}\n- {}",
        "1. {}\n2. word",
        "> bot: {}  \n> partner: word",
        "| a | b |\n| --- | --- |\n| {} | word |\n| word | {} |",
        "before\n\n{}\n\nafter",
        "*{}*",
    ],
)
def test_escaped_text_has_no_structure_wherever_it_stands(page: str, text: str) -> None:
    shown = markdown_text(text)
    assert "\n" not in shown
    check(page.replace("{}", shown), page.replace("{}", "word"), text)


def a_transcript(text: str) -> str:
    probe = Probe(text, text, ("a",))
    dialogue = ProbeDialogue(
        ProbeScript(Persona((text, "I cook.")), ((text, None), (text, probe))), (text, "Hm."), (None, "contradicting")
    )
    found = (Contradiction("d", 1, text, text, None, 0.9), Contradiction("d", 2, text, text, 1, 0.8))
    judged = JudgedDialogue("d", ((1, 1), (1, 1)), frozenset(), (True, True), found)
    return transcript_page(text, [text], [text], [dialogue], [judged])


@settings(deadline=None)
@given(text=hostile)
def test_a_transcript_is_as_long_as_the_dialogue(text: str) -> None:
    check(a_transcript(text), a_transcript("word"), text)


@settings(deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"line": hostile, "reply": hostile}), min_size=1, max_size=3))
def test_a_table_of_samples_has_a_row_for_each(rows: list[dict[str, str]]) -> None:
    harmless = [dict.fromkeys(row, "word") for row in rows]
    texts = [text for row in rows for text in row.values()]
    check(_markdown_table(rows), _markdown_table(harmless), *texts)


def a_report(folder: Path, text: str) -> dict[str, Any]:
    """Return the report of a run in whose every text stands another one."""
    write_tiny_run(folder)
    for file in folder.rglob("*.json"):
        spelt = json.dumps(HOSTILE)[1:-1]
        content = file.read_text(encoding="utf-8").replace(spelt, json.dumps(text)[1:-1])
        file.write_text(
            content.replace('"train":', '"source": {"description": "a", "licence": "b"}, "train":'), "utf-8"
        )
    return dict(collect_report(folder))


def everything() -> str:
    return whole_characters(" ".join(NASTY))  # as it is read from a run's JSON


def test_a_report_in_markdown_has_the_structure_of_a_harmless_one(tmp_path: Path) -> None:
    found, plain = (
        as_markdown(a_report(tmp_path / name, text)) for name, text in (("a", everything()), ("a2", "word"))
    )
    check(found, plain.replace("a2", "a"), everything())


def test_a_report_as_a_page_has_the_structure_of_a_harmless_one(tmp_path: Path) -> None:
    pages = []
    for name, text in (("a", everything()), ("b", "word")):
        a_report(tmp_path / name, text)
        pages.append(_Elements(build_report(tmp_path / name).html.read_text(encoding="utf-8")))
    assert pages[0].elements == pages[1].elements
    assert said("<img src=x onerror=alert(1)>") in " ".join(pages[0].text.split())


BASES = ('my---model"; import os  # ', "a\n---\nlicense: mine", "`x` <script>", "../../etc", "{ask}", "owner/name")


@pytest.mark.parametrize("base", BASES)
def test_a_model_card_names_its_base_and_licence_as_text_whatever_they_are(base: str, tmp_path: Path) -> None:
    report = a_report(tmp_path / "a", everything())
    report["data"] = {"counts": {}, "statistics": {"source": {"description": base, "licence": base}}}
    for form in ("adapter", "gguf"):
        cards = [
            card_for_form(
                model_card(report, "sft", base=named, base_licence=named),
                form,
                base=named,
                note=named,
                files=["m.gguf"],
            )
            for named in (base, "word")
        ]
        heads = [yaml.safe_load(re.split(r"^---$", card, flags=re.MULTILINE)[1]) for card in cards]
        assert (heads[0]["base_model"], heads[0]["license"]) == (base, base)
        assert heads[0].keys() == heads[1].keys()
        bodies = [re.split(r"^---$", card, flags=re.MULTILINE)[2] for card in cards]
        check(bodies[0], bodies[1])
        if form == "adapter":
            [line] = [line for line in bodies[0].splitlines() if line.startswith("tokenizer = ")]
            spelt = json.loads(line.removeprefix("tokenizer = AutoTokenizer.from_pretrained(").removesuffix(")"))
            assert spelt == " ".join(base.split("\n"))
