"""The site's menu: the headings and links of docs/README.md."""

from __future__ import annotations

import re
from typing import Final

from docs.site.links import resolved, site_path

CONTENTS: Final = "docs/README.md"
_HEADING: Final = re.compile(r"^## (.+)$")
_ENTRY: Final = re.compile(r"^- \[([^\]]+)\]\(([^)#]+)\)")


def menu(text: str) -> dict[str, dict[str, str]]:
    """The pages by heading and title, as paths in the site."""
    sections: dict[str, dict[str, str]] = {}
    heading = ""
    for line in text.splitlines():
        if found := _HEADING.match(line):
            heading = found[1]
        elif entry := _ENTRY.match(line):
            sections.setdefault(heading, {})[entry[1]] = site_path(resolved(CONTENTS, entry[2]))
    return sections
