"""Numbers as they are typed on a command line."""

from __future__ import annotations

import argparse


def number(text: str) -> float:
    """A number, or a fraction such as 8/255."""
    top, slash, bottom = text.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"expected a number or a fraction such as 8/255, got {text!r}"
        ) from error


def numbers(text: str) -> tuple[float, ...]:
    """Numbers or fractions with commas between."""
    return tuple(number(part) for part in text.split(","))


def size(text: str) -> tuple[int, int]:
    """Height and width such as 224x224."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) > 0 and int(width) > 0):
        raise argparse.ArgumentTypeError(f"expected height x width such as 224x224, got {text!r}")
    return int(height), int(width)
