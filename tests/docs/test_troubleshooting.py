"""Every error message that the troubleshooting page quotes still exists in the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
LEAST = 4
"""Characters of a piece that are worth looking for."""


def texts() -> Iterator[str]:
    """All literal text of both packages; what an f-string fills in is a gap."""
    for folder in ("nip_runtime", "export/nip_export"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in node.values]
                    yield "".join(map(str, parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


SOURCE = "\n".join(texts())


def pieces(message: str) -> list[str]:
    """The fixed parts of a message: between gaps, and of ``expected …, got …; …`` each part alone."""
    parts = re.split(r"…|(?:^|,? )got |; |^expected ", message)
    return [part.strip(" ,") for part in parts if len(part.strip(" ,")) >= LEAST]


@pytest.mark.parametrize("message", QUOTED)
def test_the_message_exists(message: str) -> None:
    missing = [piece for piece in pieces(message) if piece not in SOURCE]
    assert missing == [], f"quoted, but no longer in the source: {missing}"
    assert pieces(message) or message == "expected device …"


def test_messages_are_looked_for_piece_by_piece() -> None:
    assert pieces("expected a defended file, got a plain ONNX model") == [
        "a defended file",
        "a plain ONNX model",
    ]
    assert pieces("the weights in … do not fit the model") == ["the weights in", "do not fit the model"]
    assert "a message that nobody ever wrote" not in SOURCE


def test_the_page_covers_both_packages() -> None:
    assert len(QUOTED) >= 25
