"""Outcomes written down by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from nip_evaluate.scoring import Outcome
from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.threats import AttackCase, Norm, Threat
from nip_export.support.progress import Advance


def _never(victim: nn.Module, images: Tensor, labels: Tensor, seed: int, advance: Advance) -> Tensor:
    raise AssertionError("scoring crafts nothing")


def case(
    name: str = "PGD 8/255",
    *,
    family: str = "PGD",
    threat: Threat = Threat.GRAY_BOX,
    norm: Norm = Norm.LINF,
    epsilon: float | None = 8 / 255,
    core: bool = True,
) -> AttackCase:
    return AttackCase(
        name=name,
        family=family,
        threat=threat,
        library="by hand",
        source="none",
        settings="none",
        norm=norm,
        epsilon=epsilon,
        core=core,
        craft=_never,
    )


def answers(
    labels: Sequence[int],
    raw: Sequence[int],
    *,
    flagged: Sequence[int] | None = None,
) -> Answers:
    return Answers(
        labels=np.array(labels, np.int64),
        raw_labels=np.array(raw, np.int64),
        flagged=None if flagged is None else np.array(flagged, bool),
        suspicion=None,
    )


def outcome(
    attack: AttackCase,
    *,
    raw: Sequence[int],
    right: Sequence[int],
    raw_before: Sequence[int] | None = None,
    before: Sequence[int] | None = None,
) -> Outcome:
    """From which images are labelled rightly (1) or wrongly (0), by the network and by the defence."""
    count = len(raw)
    ones = [1] * count
    truth = np.ones(count, np.int64)
    return Outcome(
        attack, truth, answers(before or ones, raw_before or ones), answers(list(right), list(raw))
    )
