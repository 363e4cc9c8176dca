"""Links of the documentation that work in two places: on GitHub, and in the site built from docs/.

On GitHub a page is a file of the repository and links to any other file of it. The site holds docs/ only; what a page
links to outside of it comes along under ``repository/``: Markdown as a page, any other text as a page that shows it.
Here is what such a link becomes. No mkdocs in here: `site_hook` is its face to mkdocs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from posixpath import normpath, relpath

DOCS = "docs"
BROUGHT_ALONG = "repository"

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
_LINK = re.compile(r"(\]\()([^)\s]+)((?:\s+\"[^\"]*\")?\))")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|/|#", re.IGNORECASE)


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Return a page with ``change`` done to every piece of text that is neither a code block nor code in a line."""
    changed: list[str] = []
    fence: str | None = None
    for line in markdown.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence is not None:
            closes = mark is not None and mark[1].startswith(fence) and line.strip() == mark[1]
            fence = None if closes else fence
            changed.append(line)
        elif mark:
            fence = mark[1]
            changed.append(line)
        else:
            place = 0
            pieces: list[str] = []
            for code in _CODE.finditer(line):
                if line[code.start() - 1 : code.start()] == "[" and line[code.end() : code.end() + 1] == "]":
                    continue  # the text of a link: `[`name`](target)` is one piece
                pieces += [change(line[place : code.start()]), code.group()]
                place = code.end()
            changed.append("".join([*pieces, change(line[place:])]))
    return "".join(changed)


def link_targets(markdown: str) -> Iterator[str]:
    """Yield every target within the repository that a page links to, as written there."""
    found: list[str] = []

    def note(text: str) -> str:
        found.extend(match[2] for match in _LINK.finditer(text) if not _ELSEWHERE.match(match[2]))
        return text

    outside_code(markdown, note)
    yield from found


def repository_path(page: str, target: str) -> str:
    """Return the file of the repository that a link means, without its anchor.

    Args:
        page: the linking file's path in the repository, as in "docs/index.md".
        target: as written, relative to the page.
    """
    path = target.partition("#")[0]
    return normpath(str(PurePosixPath(page).parent / path)) if path else page


def site_path(file: str) -> str:
    """Return where a file of the repository lies in the site's sources; text that is no Markdown becomes a page."""
    inside = PurePosixPath(file)
    if inside.parts[0] == DOCS:
        return str(inside.relative_to(DOCS))
    return f"{BROUGHT_ALONG}/{file}" + ("" if inside.suffix == ".md" else ".md")


def with_site_links(markdown: str, page: str) -> str:
    """Return a page whose links to files of the repository lead to their pages of the site."""
    here = PurePosixPath(site_path(page)).parent

    def relative(match: re.Match[str]) -> str:
        target = match[2]
        if _ELSEWHERE.match(target):
            return match[0]
        _, mark, anchor = target.partition("#")
        there = site_path(repository_path(page, target))
        return f"{match[1]}{relpath(there, here)}{mark}{anchor}{match[3]}"

    return outside_code(markdown, lambda text: _LINK.sub(relative, text))


def shown_as_page(file: str, text: str) -> str:
    """Return a page that shows a file which is no Markdown; the search passes it over."""
    kind = {"": "text", ".yml": "yaml"}.get(PurePosixPath(file).suffix, PurePosixPath(file).suffix.removeprefix("."))
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    head = (
        f"---\nsearch:\n  exclude: true\n---\n\n# {PurePosixPath(file).name}\n\n`{file}` of the repository, as it is."
    )
    return f"{head}\n\n{fence}{kind}\n{text.rstrip()}\n{fence}\n"
