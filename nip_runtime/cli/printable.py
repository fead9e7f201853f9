"""Text fit for a terminal: names come from the author of a file, and not every stream knows every letter."""

from __future__ import annotations

import codecs
from io import TextIOWrapper
from typing import Final, TextIO

_PLAIN: Final = {
    "ε": "eps",
    "ρ": "rho",
    "κ": "kappa",
    "∞": "inf",
    "σ": "sigma",
    "Δ": "delta",
    "−": "-",
    "–": "-",
    "—": "-",
    "×": "x",
    "·": "*",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "→": "->",
    "…": "...",
    "µ": "u",
    "μ": "u",
    "²": "^2",
    "³": "^3",
    "₂": "2",
    "½": "1/2",
    "√": "sqrt ",
    "÷": "/",
    "─": "-",
    "←": "<-",
    "₀": "0",
    "₁": "1",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
}
_DEGRADE: Final = "nip.degrade"


def printable(text: str, encoding: str | None = None) -> str:
    r"""Escape what would end the line, move the cursor or can't be encoded: "a\nb" as backslash and n.

    Args:
        text: one line; bytes of a file name that are no text stand in it as lone surrogates.
        encoding: of the stream that it is for; None for UTF-8.
    """
    if not text.isprintable():
        text = "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
            for letter in text
        )
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _degrade(error: UnicodeError) -> tuple[str, int]:
    """What stands for letters that an encoding lacks: plain ones, or an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = "".join(_PLAIN.get(letter) or _escaped(letter) for letter in letters)
    return plain, error.end


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(_DEGRADE, _degrade)


def degrade(*streams: TextIO) -> None:
    """Let streams write whatever their encoding lacks in plain letters ("eps" for ε) instead of failing."""
    for stream in streams:
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "backslashreplace"):
            stream.reconfigure(errors=_DEGRADE)
