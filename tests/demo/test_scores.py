from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from nip_export.demo.adaptive import ADAPTIVE_CASES
from nip_export.demo.attacks import CASES, Attacked
from nip_export.demo.scores import (
    AdaptiveScore,
    BenignScore,
    DemoScores,
    LatencyScore,
    score_adaptive,
    score_attack,
    score_benign,
)
from nip_runtime.rates import Rate
from nip_runtime.result import Prediction, Reason

TRUTH = np.array([0, 0, 1, 1, 2])


def prediction(raw: list[int], defended: list[int], flagged: list[int]) -> Prediction:
    eye = np.eye(3, dtype=np.float32)
    return Prediction(
        labels=np.array(defended),
        logits=eye[defended],
        raw_labels=np.array(raw),
        raw_logits=eye[raw],
        suspicion=np.zeros(len(raw), np.float32),
        flagged=np.array(flagged, bool),
        candidate=np.array(defended),
        reason=(Reason.PASSED,) * len(raw),
    )


def attacked(fooled: list[int]) -> Attacked:
    return Attacked(CASES[0], np.zeros((len(fooled), 1, 2, 2), np.float32), np.array(fooled, bool))


# Row 4 is wrong before the attack; row 1 the defence spoils.
BENIGN = prediction([0, 0, 1, 1, 1], [0, 2, 1, 1, 2], [0, 1, 0, 0, 1])


def test_benign_cost_counts_only_right_answers_as_spoilt() -> None:
    score = score_benign(BENIGN, TRUTH)
    assert score.undefended == Rate(4, 5)
    assert score.defended == Rate(4, 5)
    assert score.flagged == Rate(2, 5)
    assert score.false_corrections == Rate(1, 4)


def test_dsr_and_detection_are_over_images_turned_from_right_to_wrong() -> None:
    # Fooled: rows 0, 1, 2. Row 3 withstands; row 4 was wrong before, and its repair must not count.
    under_attack = prediction([1, 1, 0, 1, 0], [0, 1, 1, 1, 2], [1, 0, 1, 1, 1])
    score = score_attack(attacked([1, 1, 1, 0, 1]), benign=BENIGN, prediction=under_attack, labels=TRUTH)
    assert score.undefended == Rate(1, 5)
    assert score.defended == Rate(4, 5)
    assert score.successes == 3
    assert score.dsr == Rate(2, 3)
    assert score.detected == Rate(2, 3)
    assert score.agreement == Rate(5, 5)


def test_an_attack_on_the_first_images_is_scored_on_those_alone() -> None:
    score = score_attack(
        attacked([1, 0]), benign=BENIGN, prediction=prediction([1, 0], [1, 0], [0, 0]), labels=TRUTH
    )
    assert score.defended == Rate(1, 2)
    assert score.dsr == Rate(0, 1)


def test_where_torch_and_the_file_disagree_it_shows() -> None:
    score = score_attack(
        attacked([1, 1]), benign=BENIGN, prediction=prediction([1, 0], [1, 0], [0, 0]), labels=TRUTH
    )
    assert score.agreement == Rate(1, 2)


def test_without_a_success_there_is_no_dsr() -> None:
    score = score_attack(
        attacked([0, 0]), benign=BENIGN, prediction=prediction([0, 0], [0, 0], [0, 0]), labels=TRUTH
    )
    assert score.dsr is None
    assert score.detected is None


def test_the_adaptive_attack_is_compared_on_the_same_images() -> None:
    gray_box = prediction([1, 1, 1, 1, 1], [0, 0, 1, 1, 2], [1] * 5)
    adaptive = prediction([0, 1, 1], [0, 1, 2], [0, 0, 1])
    score = score_adaptive(ADAPTIVE_CASES[0], gray_box=gray_box, prediction=adaptive, labels=TRUTH)
    assert (score.gray_box, score.defended, score.flagged) == (Rate(3, 3), Rate(1, 3), Rate(1, 3))


@pytest.fixture
def scores() -> DemoScores:
    score = score_attack(
        attacked([1, 0]), benign=BENIGN, prediction=prediction([1, 0], [0, 0], [1, 0]), labels=TRUTH
    )
    return DemoScores(
        benign=BenignScore(
            undefended=Rate(4, 5), defended=Rate(3, 5), flagged=Rate(1, 5), false_corrections=Rate(1, 4)
        ),
        attacks=(score, replace(score, dsr=None, detected=None)),
        adaptive=(
            AdaptiveScore(
                case=ADAPTIVE_CASES[0], gray_box=Rate(4, 5), defended=Rate(1, 5), flagged=Rate(2, 5)
            ),
        ),
        latency=(
            LatencyScore(batch=1, plain_ms=1, defended_ms=2.5, ratio=2.4, rounds=3),
            LatencyScore(batch=32, plain_ms=9, defended_ms=10, ratio=1.1, rounds=3),
        ),
        seed=3,
        policy="guarded",
    )


def test_the_summary_has_the_promised_keys_and_survives_json(scores: DemoScores) -> None:
    summary = json.loads(json.dumps(scores.to_summary(), allow_nan=False))
    assert {name: summary["benign"][name] for name in ("undefended", "defended", "n")} == {
        "undefended": 0.8,
        "defended": 0.6,
        "n": 5,
    }
    first, second = summary["attacks"]
    assert {name: first[name] for name in ("name", "undefended", "defended", "dsr", "n")} == {
        "name": "FGSM 8/255",
        "undefended": 0.5,
        "defended": 1.0,
        "dsr": 1.0,
        "n": 2,
    }
    assert second["dsr"] is None
    assert summary["latency_ratio"] == 2.4
    assert [row["defended"] for row in summary["adaptive"]] == [0.2]
    assert ADAPTIVE_CASES[0].name not in [row["name"] for row in summary["attacks"]]
    low, high = first["intervals"]["undefended"]
    assert low < 0.5 < high
