"""Tables in documents that are written from results, so that no number in them is typed by hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nip_runtime.support.writing import write_whole


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


@dataclass(frozen=True)
class Block:
    """The part of a document between two marking lines."""

    begin: str
    end: str

    def replaced(self, text: str, lines: Sequence[str]) -> str:
        """`text` with the block exchanged.

        Raises:
            ValueError: a mark is missing.
        """
        start, end = text.find(self.begin), text.find(self.end)
        if start < 0 or end < start:
            raise ValueError(f"expected the lines {self.begin.strip()!r} and {self.end.strip()!r}")
        start += len(self.begin)
        return text[:start] + "\n" + "\n".join(lines) + text[end:]


def update(block: Block, documents: Mapping[Path, Sequence[str]], *, check: bool, source: str) -> int:
    """Write the block of every document, or only compare it.

    Args:
        block: where.
        documents: the lines of each document's block.
        check: write nothing.
        source: where the numbers stand, for the message.

    Returns:
        The exit code: 1 if something differs and was not written.
    """
    changed = []
    for path, lines in documents.items():
        before = path.read_text(encoding="utf-8")
        after = block.replaced(before, lines)
        if after != before:
            changed.append(path.name)
            if not check:
                write_whole(path, after.encode())
    if check and changed:
        print(f"{', '.join(changed)}: tables differ from {source}", file=sys.stderr)
        return 1
    return 0


def only_checks(description: str | None, arguments: Sequence[str] | None) -> bool:
    """Whether a command that writes tables was asked only to compare them; ``--help`` exits."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_check(parser)
    check: bool = parser.parse_args(arguments).check
    return check


def add_check(parser: argparse.ArgumentParser) -> None:
    """The option of every command that writes tables."""
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if something would change"
    )
