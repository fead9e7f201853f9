"""What the gate can tell at all, measured on benign images alone. It must never sound better than it is.

The probe is a *swapped look*: a benign image of one class whose second pass was that of another class's
image. No attack does more to an answer than that, so a gate that does not flag these flags hardly anything,
be it that the response is lost in its own scatter or that the screen sends nothing on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nip_export.calibrate.absent import RARE_IMAGES
from nip_export.calibrate.gate import EARLY_WEIGHT, Known, allowed_flags, early_weight
from nip_export.defence.decision import FirstLook, read_gate
from nip_export.defence.spec import Gate
from nip_export.support.classes import named_classes
from nip_runtime.file.manifest import CoverageInfo, VerdictInfo
from nip_runtime.file.rates import Rate

FEW_IMAGES = 10
"""Profile images of a class below which its own statistics are mostly those of all classes."""
TELLS = 0.5
"""Share of swapped looks that must be flagged for the response to count as a test."""
DEAD_SHARE, CHANCE = 0.1, 1.5
"""A gate is called dead if it flags fewer swapped looks than this share of the rows that the screen was asked
to send on, or than so many times the budget: what it flags by chance."""


@dataclass(frozen=True)
class Verdict:
    """Coverage and verdict as the manifest has them, and why the gate can never fire, if it cannot."""

    coverage: CoverageInfo
    info: VerdictInfo
    dead: str | None


def one_of_classes(count: int) -> str:
    """How one of so many classes is called."""
    return "the class" if count == 1 else f"one of the {count} classes"


def judge_gate(
    gate: Gate,
    look: FirstLook,
    second: NDArray[np.floating],
    labels: NDArray[np.int64],
    known: Known,
    profile_labels: NDArray[np.int64],
    *,
    benign_budget: float,
    screen_rate: float | None,
    seed: int,
    class_names: Sequence[str] | None = None,
    is_labelled: bool = True,
) -> Verdict:
    """Say what a finished gate can and cannot tell.

    Args:
        gate: with its thresholds.
        look: pass 1 over the N calibration images.
        second: logits (N, C) of their second pass.
        labels: (N,) int64.
        known: what was fitted to profile images.
        profile_labels: (M,) int64, of the rightly classified profile images.
        benign_budget: share of rightly classified inputs that may be flagged.
        screen_rate: share of inputs that may take the second pass; None: all do.
        seed: of the swaps.
        class_names: in the order of the logits, for advice; None if unknown.
        is_labelled: False: the labels are the network's own predictions.
    """
    right = look.predicted == labels
    swapped, reached = swapped_looks(gate, look.take(right), second[right], seed=seed)
    coverage = coverage_of(gate, known, profile_labels)
    allowed = max(allowed_flags(int(right.sum()), benign_budget), 0)
    knows = min(max(early_weight(look.early, labels) / EARLY_WEIGHT, 0.0), 1.0) if not known.own else 0.0
    asked = 1.0 if screen_rate is None else screen_rate
    detects: list[str] = []
    misses: list[str] = []
    advice: list[str] = []
    if swapped.value >= TELLS:
        detects.append(
            f"inputs whose answer changes at the second look: both passes flag {swapped} of benign images "
            f"given another class's second look, {reached} where the screen must pick them first"
        )
    else:
        misses.append(
            "most inputs whose answer changes at the second look: the response is lost in its own scatter, "
            f"both passes flag only {swapped} of benign images given another class's second look"
        )
    unknown, none = ~known.present, np.bincount(profile_labels, minlength=len(known.present)) == 0
    if "typicality" in coverage.silent:
        misses.append(
            f"inputs that end in {one_of_classes(int(unknown.sum()))} without images, or with next to none: "
            "the free tests are silent about them, so the screen seldom picks them, "
            + (
                "and nothing is known of their second look"
                if "response" in coverage.silent
                else "and their second look must show more than that of others"
            )
        )
        if none.any():
            named = named_classes(np.flatnonzero(none).tolist(), class_names)
            advice.append(f"give images of the classes that had none: {named}")
    rare = unknown & ~none
    if rare.any():
        right_ones = " that the network gets right" if is_labelled else ""
        named = named_classes(np.flatnonzero(rare).tolist(), class_names)
        advice.append(
            f"give more images of {named}: with fewer than {RARE_IMAGES}{right_ones} where others have many, "
            "they are judged like classes without images"
        )
    if knows == 0:
        stands_in = "; how sure the network is stands in for them" if known.own else ""
        misses.append(f"what only early layers would notice: theirs know nothing of the classes{stands_in}")
        advice.append("give some 50 images of every class, so that early layers can tell them apart")
    if gate.screen_threshold is not None:
        misses.append(
            "inputs whose features look benign while "
            + ("the network is sure" if known.own else "early layers agree")
            + (", and whose colours are as smooth as a photograph's" if gate.grain_tail is not None else "")
            + ": the screen does not pick them"
        )
    misses.append("many attacks that stop just beyond the boundary, whose second look differs little")
    misses.append("attackers who know this defence and optimise against it")
    if not is_labelled:
        advice.append(
            "give labels: without them the network's mistakes count as right, so that nothing was measured "
            "or chosen on them"
        )
    if allowed == 0:
        right_ones = "images that the network gets right" if is_labelled else "images"
        advice.append(
            f"give at least {enough_for_a_flag(benign_budget)} {right_ones} (now "
            f"{int(right.sum())}): the budget of {benign_budget:.1%} allows not one of them to be flagged, "
            "so that the threshold lies above all"
        )
    dead = None
    if reached.interval[1] < min(max(DEAD_SHARE * asked, CHANCE * benign_budget), asked / 2):
        dead = (
            f"its gate hardly ever fires: of benign images given another class's second look it would flag "
            f"{reached}, with a screen that was asked to pick {asked:.0%}"
        )
    info = VerdictInfo(
        detects=tuple(detects) if dead is None else (),
        misses=tuple(misses) if dead is None else ("nearly everything: " + dead, *misses),
        advice=tuple(advice),
        early_knows=knows,
        swapped=swapped,
        reached=reached,
        allowed_flags=allowed,
    )
    return Verdict(coverage, info, dead)


def swapped_looks(
    gate: Gate, look: FirstLook, second: NDArray[np.floating], *, seed: int
) -> tuple[Rate, Rate]:
    """Benign images with the second look of another class's image: flagged by both passes, and through the
    screen.

    Args:
        gate: with its thresholds.
        look: pass 1 over N rightly classified benign images, N ≥ 1.
        second: logits (N, C) of their second pass.
        seed: draws the partners.
    """
    predicted = look.predicted
    partner = np.random.default_rng(seed).permutation(len(predicted))
    rows = np.flatnonzero(predicted[partner] != predicted)
    if not len(rows):
        return Rate(0, len(predicted)), Rate(0, len(predicted))
    seen, other = look.take(rows), second[partner[rows]]
    alone = read_gate(replace(gate, screen_threshold=None), seen, other).flagged
    through = read_gate(gate, seen, other).flagged
    return Rate(int(alone.sum()), len(rows)), Rate(int(through.sum()), len(rows))


def coverage_of(gate: Gate, known: Known, profile_labels: NDArray[np.int64]) -> CoverageInfo:
    """Which classes had profile images, and how those that had none are judged."""
    classes = len(known.present)
    counts = np.bincount(profile_labels, minlength=classes)
    unknown = ~known.present
    pooled: list[str] = []
    silent: list[str] = []
    if unknown.any():
        heard = bool((gate.typicality_scale.inverse_std[unknown] > 0).all())
        (pooled if heard else silent).append("typicality")
        if not known.own:
            silent.append("disagreement")
    if not gate.response_scale.per_class:
        pooled.append("response")
    elif unknown.any():
        if (gate.response_scale.inverse_std[unknown] > 0).any():
            pooled.append("response of classes without images")
        else:
            silent.append("response")
    return CoverageInfo(
        with_images=int((counts > 0).sum()),
        few_images=int(((counts > 0) & (counts < FEW_IMAGES)).sum()),
        without_images=int((counts == 0).sum()),
        pooled=tuple(pooled),
        silent=tuple(silent),
    )


def enough_for_a_flag(benign_budget: float) -> int:
    """The fewest rightly classified images of which the budget lets one be flagged."""
    low, high = 1, math.ceil(10 / benign_budget)
    while low < high:
        middle = (low + high) // 2
        if allowed_flags(middle, benign_budget) >= 1:
            high = middle
        else:
            low = middle + 1
    return low
