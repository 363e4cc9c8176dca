"""What `mkdocs build` asks on the way: files outside docs/ come along, reference pages are filled from the code.

A page under docs/reference holds ``<!-- generated: NAME -->`` where the site shows what the code says. The page itself
stays readable on GitHub.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

from reference_pages import command_line, public_names
from settings_page import settings_tables
from site_links import (
    DOCS,
    link_targets,
    repository_path,
    shown_as_page,
    site_path,
    with_site_links,
)

ROOT = Path(__file__).resolve().parents[1]
GENERATED: dict[str, Callable[[], str]] = {
    "commands": command_line,
    "settings": settings_tables,
    "names": public_names,
}
MADE_OF: dict[str, str] = {}
"""Page of the site to the file of the repository that it shows."""

_MARK = re.compile(r"<!-- generated: (\w+) -->")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make anchors as GitHub makes them, so that one link is right in both places."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring along every file outside docs/ that a page links to, and what those link to."""
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    known = set(waiting)
    MADE_OF.update({path.removeprefix(f"{DOCS}/"): path for path in waiting})
    while waiting:
        page = waiting.pop()
        for target in link_targets((ROOT / page).read_text(encoding="utf-8")):
            path = repository_path(page, target)
            if path in known or path.startswith((f"{DOCS}/", "..")) or not (ROOT / path).is_file():
                continue  # mkdocs tells of those that aren't there
            known.add(path)
            MADE_OF[site_path(path)] = path
            text = (ROOT / path).read_text(encoding="utf-8")
            if path.endswith(".md"):
                waiting.append(path)
            else:
                text = shown_as_page(path, text)
            files.append(File.generated(config, site_path(path), content=text, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links of the site, and fill in what is generated."""

    def filled(match: re.Match[str]) -> str:
        if match[1] not in GENERATED:
            raise PluginError(f"{page.file.src_uri}: nothing generates {match[1]!r}; known are {', '.join(GENERATED)}")
        return GENERATED[match[1]]()

    markdown = with_site_links(markdown, MADE_OF[page.file.src_uri])
    return _MARK.sub(filled, markdown)
