"""The numbers of the demo: what is counted, and the summary file they are published in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nip_export.demo.adaptive import AdaptiveCase
from nip_export.demo.attacks import AttackCase, Attacked
from nip_runtime.rates import Rate
from nip_runtime.result import Prediction

LabelArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class BenignScore:
    """Cost of the defence on benign images.

    Attributes:
        undefended: accuracy of the raw logits.
        defended: accuracy of the defended logits.
        flagged: share of all images that the gate flags.
        false_corrections: share of rightly labelled images whose label the defence spoils.
    """

    undefended: Rate
    defended: Rate
    flagged: Rate
    false_corrections: Rate


@dataclass(frozen=True, kw_only=True)
class AttackScore:
    """What became of one attack.

    Attributes:
        case: the attack.
        undefended: accuracy of the raw logits on attacked images.
        defended: accuracy of the defended logits on the same.
        successes: images labelled rightly before the attack and wrongly after it, by the raw logits.
        dsr: defence success rate, the share of `successes` that the defended logits label rightly; None
            without any.
        detected: share of `successes` that the gate flags; None without any.
        agreement: share of attacked images that the file's raw logits and the attacked torch network both
            label rightly or both wrongly; a sanity check of the rest.
    """

    case: AttackCase
    undefended: Rate
    defended: Rate
    successes: int
    dsr: Rate | None
    detected: Rate | None
    agreement: Rate


@dataclass(frozen=True, kw_only=True)
class AdaptiveScore:
    """What became of one attack on the defence itself (threat model T4).

    Attributes:
        case: the attack.
        gray_box: accuracy of the defended logits under the gray-box attack of the same ε, same images.
        defended: accuracy of the defended logits under the adaptive attack.
        flagged: share of the adaptively attacked images that the gate flags.
    """

    case: AdaptiveCase
    gray_box: Rate
    defended: Rate
    flagged: Rate


@dataclass(frozen=True, kw_only=True)
class LatencyScore:
    """Median time of a run over rounds in which both files take turns, and the median of the rounds'
    ratios."""

    batch: int
    plain_ms: float
    defended_ms: float
    ratio: float
    rounds: int


@dataclass(frozen=True, kw_only=True)
class DemoScores:
    """Everything the table prints.

    `latency` has one entry per batch size; the first is the headline.
    """

    benign: BenignScore
    attacks: tuple[AttackScore, ...]
    adaptive: tuple[AdaptiveScore, ...]
    latency: tuple[LatencyScore, ...]
    seed: int
    policy: str

    def to_summary(self) -> dict[str, Any]:
        """The content of summary.json: plain shares in [0, 1], with Wilson 95 % intervals beside them."""
        benign = self.benign
        return {
            "benign": {
                "undefended": benign.undefended.value,
                "defended": benign.defended.value,
                "n": benign.defended.n,
                "intervals": {
                    "undefended": benign.undefended.interval,
                    "defended": benign.defended.interval,
                },
                "flagged": benign.flagged.value,
                "false_corrections": benign.false_corrections.value,
            },
            "attacks": [_attack_summary(score) for score in self.attacks],
            "adaptive": [
                {
                    "name": score.case.name,
                    "settings": score.case.settings,
                    "gray_box_defended": score.gray_box.value,
                    "defended": score.defended.value,
                    "flagged": score.flagged.value,
                    "n": score.defended.n,
                    "intervals": {"defended": score.defended.interval},
                }
                for score in self.adaptive
            ],
            "latency_ratio": self.latency[0].ratio,
            "latency": [
                {"batch": e.batch, "ratio": e.ratio, "plain_ms": e.plain_ms, "defended_ms": e.defended_ms}
                for e in self.latency
            ],
            "threat_models": {
                "attacks": "T1: gray-box, crafted on the undefended network",
                "adaptive": "T4: crafted on the whole defence",
            },
            "policy": self.policy,
            "seed": self.seed,
        }


def _attack_summary(score: AttackScore) -> dict[str, Any]:
    return {
        "name": score.case.name,
        "settings": score.case.settings,
        "undefended": score.undefended.value,
        "defended": score.defended.value,
        "dsr": None if score.dsr is None else score.dsr.value,
        "n": score.defended.n,
        "detected": None if score.detected is None else score.detected.value,
        "successes": score.successes,
        "intervals": {
            "undefended": score.undefended.interval,
            "defended": score.defended.interval,
            "dsr": None if score.dsr is None else score.dsr.interval,
            "detected": None if score.detected is None else score.detected.interval,
        },
    }


def score_benign(prediction: Prediction, labels: LabelArray) -> BenignScore:
    """Score the file's answers on benign images with true classes `labels` (N,)."""
    right = prediction.raw_labels == labels
    return BenignScore(
        undefended=_rate(right),
        defended=_rate(prediction.labels == labels),
        flagged=_rate(prediction.flagged),
        false_corrections=_rate((prediction.labels != labels)[right]),
    )


def score_adaptive(
    case: AdaptiveCase, *, gray_box: Prediction, prediction: Prediction, labels: LabelArray
) -> AdaptiveScore:
    """Score the file's answers on the same n images under the gray-box and the adaptive attack."""
    count = len(prediction)
    truth = labels[:count]
    return AdaptiveScore(
        case=case,
        gray_box=_rate(gray_box.labels[:count] == truth),
        defended=_rate(prediction.labels == truth),
        flagged=_rate(prediction.flagged),
    )


def score_attack(
    attacked: Attacked, *, benign: Prediction, prediction: Prediction, labels: LabelArray
) -> AttackScore:
    """Score the file's answers on attacked images.

    Args:
        attacked: the attack's n images.
        benign: the file's answers on the benign images they were made from; further rows are ignored.
        prediction: the file's answers on the attacked images.
        labels: true classes of the benign images.
    """
    count = len(prediction)
    truth = labels[:count]
    missed = prediction.raw_labels != truth
    successful = (benign.raw_labels[:count] == truth) & missed
    found = int(successful.sum())
    return AttackScore(
        case=attacked.case,
        undefended=_rate(~missed),
        defended=_rate(prediction.labels == truth),
        successes=found,
        dsr=_rate((prediction.labels == truth)[successful]) if found else None,
        detected=_rate(prediction.flagged[successful]) if found else None,
        agreement=_rate(missed == attacked.fooled),
    )


def _rate(hits: npt.NDArray[np.bool_]) -> Rate:
    return Rate(int(hits.sum()), len(hits))
