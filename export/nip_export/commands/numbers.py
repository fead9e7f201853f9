"""Numbers as they are typed on a command line."""

from __future__ import annotations

import argparse
import re
from typing import Final

from nip_runtime.file.manifest import Interpolation, PreprocessSpec

_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", re.IGNORECASE)


def number(text: str) -> float:
    """A number, or a fraction such as 8/255."""
    top, slash, bottom = text.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(
            f"expected a number or a fraction such as 8/255, got {text!r}"
        ) from error


def share(text: str) -> float:
    """A share above 0, at most 1."""
    found = number(text)
    if not 0 < found <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0, at most 1, such as 0.92, got {text!r}")
    return found


def part(text: str) -> float:
    """A share above 0 and below 1."""
    found = number(text)
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(
            f"expected a share above 0 and below 1, such as 0.02 for 2 %, got {text!r}"
        )
    return found


def numbers(text: str) -> tuple[float, ...]:
    """Numbers or fractions with commas between."""
    return tuple(number(part) for part in text.split(","))


def interval(text: str) -> tuple[float, float]:
    """Two numbers, low below high, such as -1,1."""
    found = numbers(text)
    if len(found) != 2 or not found[0] < found[1]:
        raise argparse.ArgumentTypeError(f"expected two numbers, low below high, such as -1,1, got {text!r}")
    return found[0], found[1]


def as_shares(
    mean: tuple[float, ...] | None, std: tuple[float, ...] | None, bounds: tuple[float, float]
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, bool]:
    """Normalisation for pixels in [0, 1], and whether it was given for pixels in 0…255.

    Within [0, 1] no mean and no standard deviation is above 1. Where inputs have other bounds, both stay as
    they are.
    """
    given = (*(mean or ()), *(std or ()))
    if bounds != (0.0, 1.0) or not given or max(given) <= 1:
        return mean, std, False
    scaled = [None if values is None else tuple(value / 255 for value in values) for values in (mean, std)]
    return scaled[0], scaled[1], True


def amount(text: str) -> int:
    """Bytes such as 4G, 800M or 2.5GiB; letters count by 1024."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"expected an amount of memory such as 4G or 800M, got {text!r}")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def preprocess(text: str) -> PreprocessSpec:
    """Resize and crop such as resize=256,crop=224,interpolation=bicubic."""
    given = dict(part.partition("=")[::2] for part in text.split(","))
    kind = given.pop("interpolation", "bilinear")
    wrong = argparse.ArgumentTypeError(
        f"expected resize=256,crop=224 and perhaps interpolation={'|'.join(Interpolation)}, got {text!r}"
    )
    crop = given.get("crop", "")
    if set(given) != {"resize", "crop"} or kind not in list(Interpolation) or not given["resize"].isdecimal():
        raise wrong
    try:
        cut = size(crop if "x" in crop.lower() else f"{crop}x{crop}")
    except argparse.ArgumentTypeError:
        raise wrong from None
    try:
        return PreprocessSpec(resize=int(given["resize"]), crop=cut, interpolation=Interpolation(kind))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def size(text: str) -> tuple[int, int]:
    """Height and width such as 224x224."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) > 0 and int(width) > 0):
        raise argparse.ArgumentTypeError(f"expected height x width such as 224x224, got {text!r}")
    return int(height), int(width)
