"""Links between pages, as GitHub resolves them and as the site does.

Pages stand in ``docs/``, but they also link to files beside that folder: SECURITY.md, benchmarks/README.md …
The site takes these in below ``project/``, with the files that they link to in turn.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

OUTSIDE: Final = "project"
_LINK: Final = re.compile(r"(\]\()([^)\s]+)(\))")
_HEADING: Final = re.compile(r"^#{1,5} ")
_FENCE: Final = re.compile(r"^(```|~~~)")
_ELSEWHERE: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|#|/)", re.IGNORECASE)


class BrokenLink(ValueError):
    """A link that leads nowhere."""


def site_path(path: str) -> str:
    """Where the site keeps a file of the repository; both relative, with forward slashes."""
    if path == "docs/README.md":
        return "index.md"
    inside = path.removeprefix("docs/")
    return inside if inside != path else f"{OUTSIDE}/{path}"


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with every line outside fenced code changed."""
    lines, fenced = [], False
    for line in text.splitlines(keepends=True):
        if _FENCE.match(line):
            fenced = not fenced
        lines.append(line if fenced else change(line))
    return "".join(lines)


def rewrite(text: str, replace: Callable[[str], str]) -> str:
    """Replace the target of every Markdown link outside fenced code."""
    return outside_code(text, lambda line: _LINK.sub(lambda m: m[1] + replace(m[2]) + m[3], line))


def one_title(text: str) -> str:
    """A page of several titles, with every heading behind the first one level deeper: a menu shows one."""
    seen: list[str] = []

    def deeper(line: str) -> str:
        if not _HEADING.match(line):
            return line
        seen.append(line)
        return line if len(seen) == 1 else f"#{line}"

    changed = outside_code(text, deeper)
    return changed if sum(heading.startswith("# ") for heading in seen) > 1 else text


def targets(text: str) -> Iterator[str]:
    """The targets of all links to files: without anchors, web addresses and links within the page."""
    found: list[str] = []

    def keep(target: str) -> str:
        found.append(target)
        return target

    rewrite(text, keep)
    for target in found:
        if not _ELSEWHERE.match(target):
            yield target.partition("#")[0]


def resolved(page: str, target: str) -> str:
    """The file of the repository that a page's link means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def for_site(page: str, text: str) -> str:
    """A page's text with its links as the site needs them.

    Args:
        page: the page's path in the repository.
        text: its Markdown.
    """
    folder = posixpath.dirname(site_path(page))

    def moved(target: str) -> str:
        if _ELSEWHERE.match(target):
            return target
        path, mark, anchor = target.partition("#")
        return posixpath.relpath(site_path(resolved(page, path)), folder or ".") + mark + anchor

    return rewrite(text, moved)


def taken_in(root: Path) -> tuple[str, ...]:
    """The files beside ``docs/`` that its pages link to, directly or by way of other pages; sorted.

    Raises:
        BrokenLink: a target that is no file in the repository.
    """
    found: set[str] = set()
    open_pages = [path.relative_to(root).as_posix() for path in sorted((root / "docs").rglob("*.md"))]
    while open_pages:
        page = open_pages.pop()
        for target in targets((root / page).read_text(encoding="utf-8")):
            path = resolved(page, target)
            if path.startswith("..") or not (root / path).is_file():
                raise BrokenLink(f"{page}: expected a link to a file in the repository, got {target}")
            if path in found or path.startswith("docs/"):
                continue
            found.add(path)
            if path.endswith(".md"):
                open_pages.append(path)
    return tuple(sorted(found))
