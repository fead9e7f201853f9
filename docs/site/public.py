"""The reference of the Python names: each entry of docs/python.md becomes what autodoc makes of it."""

from __future__ import annotations

import re
from typing import Final

_ENTRY: Final = re.compile(r"^- `(nip_(?:runtime|export)[\w.]*)`: .+$", re.MULTILINE)
_KINDS: Final = {"class": "autoclass", "exception": "autoexception", "function": "autofunction"}
_HEADING: Final = re.compile(r"^## ", re.MULTILINE)


def names(text: str) -> list[str]:
    """The public names that the page lists."""
    return _ENTRY.findall(text)


def with_reference(text: str) -> str:
    """The page with a directive for Sphinx behind each entry's line."""
    return _ENTRY.sub(lambda found: f"{_directive(found[1])}", text)


def _directive(name: str) -> str:
    last = name.rpartition(".")[2]
    kind = "function" if last[0].islower() else "exception" if last.endswith("Error") else "class"
    options = "" if kind == "function" else "\n   :members:\n   :show-inheritance:" * (kind == "class")
    return f"### {last}\n\n```{{eval-rst}}\n.. {_KINDS[kind]}:: {name}{options}\n```\n"
