"""The documentation's site: links right in two places, every page in the navigation, nothing fetched from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import personatune
from personatune.settings import Config
from reference_pages import GROUPS, command_line, public_names
from settings_page import settings_tables, yaml_comments
from site_links import (
    link_targets,
    outside_code,
    repository_path,
    shown_as_page,
    with_site_links,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("docs/index.md", "data.md", "data.md"),
        ("docs/index.md", "../README.md", "repository/README.md"),
        ("docs/index.md", "../README.md#who-is-better", "repository/README.md#who-is-better"),
        ("docs/howto/settings.md", "../faq.md#ppo", "../faq.md#ppo"),
        ("docs/howto/settings.md", "../../src/personatune/config.py", "../repository/src/personatune/config.py.md"),
        ("docs/rlhf.md", "../src/personatune/x/a.yaml", "repository/src/personatune/x/a.yaml.md"),
        ("README.md", "docs/flagship.md", "../flagship.md"),
        ("README.md", "LICENSE", "LICENSE.md"),
        ("src/personatune/x/README.md", "../../../docs/images/a.png", "../../../../images/a.png"),
    ],
)  # fmt: skip
def test_a_link_of_the_repository_becomes_one_of_the_site(page: str, link: str, becomes: str) -> None:
    assert with_site_links(f"See [this]({link}).", page) == f"See [this]({becomes})."


@pytest.mark.parametrize("link", ["https://example.org/a.md", "#here", "mailto:a@b", "//host/a"])
def test_other_links_stay(link: str) -> None:
    assert with_site_links(f"[a]({link})", "docs/index.md") == f"[a]({link})"


def test_code_is_left_alone_and_code_as_a_link_s_text_is_not() -> None:
    text = "`[a](../README.md)` [`b`](../README.md)\n\n```md\n[c](../README.md)\n```\n\n[d](../README.md)\n"
    assert with_site_links(text, "docs/index.md").count("repository/README.md") == 2
    assert list(link_targets(text)) == ["../README.md", "../README.md"]


def test_a_longer_fence_holds_a_shorter_one() -> None:
    text = "````md\n```\nx\n```\nx\n````\nx\n"
    assert outside_code(text, lambda piece: piece.replace("x", "y")) == "````md\n```\nx\n```\nx\n````\ny\n"


def test_a_target_is_told_without_its_anchor() -> None:
    assert repository_path("docs/howto/a.md", "../data.md#x") == "docs/data.md"
    assert repository_path("docs/howto/a.md", "#x") == "docs/howto/a.md"


def test_a_file_with_fences_is_shown_whole() -> None:
    page = shown_as_page("a/b.py", "x = '''\n```\n'''\n")
    assert page.endswith("````py\nx = '''\n```\n'''\n````\n")


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=str)
def test_every_link_leads_to_a_file(page: Path) -> None:
    """On GitHub; for the site, mkdocs itself looks."""
    name = str(page.relative_to(ROOT))
    targets = {repository_path(name, target) for target in link_targets(page.read_text(encoding="utf-8"))}
    assert [target for target in sorted(targets) if not (ROOT / target).exists()] == []


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = re.findall(r"[\w/-]+\.md", yaml.safe_dump(settings["nav"]))
    there = [str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")]
    assert sorted(named) == sorted(there)


def test_the_settings_page_has_every_setting_with_its_reason() -> None:
    page = settings_tables()
    rows = [line for line in page.splitlines() if line.startswith("| `")]

    def leaves(tree: dict[str, object]) -> int:
        maps = {"kinds", "reward_terms"}  # settings that are themselves a map
        return sum(leaves(v) if isinstance(v, dict) and k not in maps else 1 for k, v in tree.items())

    assert len(rows) == leaves(Config().model_dump())
    assert "fine-tuning | 0.0005 | 0.0005 | 0.0005 | number > 0 < 1 |" in page
    assert "| 6 | 10 | 12 | whole number ≥ 1 or all |" in page
    assert "\n## ppo.alarms.length\n" in page


def test_comments_go_with_their_settings() -> None:
    text = "# head\na:\n  b: 1   # one\n         # and more\n  c: {d: 2}\ne: x  # last\n"
    assert yaml_comments(text) == {"a.b": "one and more", "e": "last"}


def test_the_command_line_page_has_every_command_with_its_whole_help() -> None:
    page = command_line()
    for command in ("run", "sft", "dpo", "cards convert", "preferences inspect", "judge train"):
        assert f"`personatune {command}`\n" in page
    assert "* `prepare`: Begin a run: load, clean and split the dialogues, and find the base model.\n" in page
    assert "--help" not in page


def test_the_python_page_has_every_public_name() -> None:
    page = public_names()
    listed = re.findall(r"^::: personatune\.[\w.]+\.(\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(personatune._PUBLIC)
    assert {name for names in GROUPS.values() for name in names} <= set(listed)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loads = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+href=[\"']?(?:https?:)?//"
    )
    fetching = [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))]
    assert fetching == []
    styles = "".join(file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.css"))
    assert not re.search(r"url\([\"']?(?:https?:)?//|@import [\"']https?:", styles)
    assert (tmp_path / "repository" / "src" / "personatune" / "configs" / "standard.yaml.html").is_file()
