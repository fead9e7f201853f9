"""Names of files and classes, fit for a terminal: they come from whoever made the file."""

from __future__ import annotations


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
