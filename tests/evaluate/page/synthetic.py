"""Whole evaluations made up for testing how the page shows them: nobody's results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nip_evaluate.report.page import Gallery, make_gallery
from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.results import (
    BaselineAttack,
    Check,
    Estimate,
    Evaluation,
    InfluenceGroups,
    Latency,
    NotMeasured,
    RiskCoverage,
    Roc,
    Subject,
    TradeOff,
    TradeOffPoint,
    WorstCase,
)
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate
from tests.evaluate.page.synthetic_rows import (
    BASELINES,
    CLASSES,
    N,
    attack,
    attacks,
    baseline,
    benign,
    estimate,
)


def trade_off(name: str, number: int) -> TradeOff:
    costs = np.linspace(0, 0.05, 14)
    points = tuple(
        TradeOffPoint(
            threshold=3 - 40 * float(cost),
            flagged=Rate(round(float(cost) * 2 * N), N),
            cost=estimate(float(cost), 0.005),
            mean_dsr=estimate((0.7 - 0.08 * number) * (1 - float(np.exp(-120 * cost))), 0.02),
        )
        for cost in costs
    )
    return TradeOff(name=name, points=points, chosen=4 if number == 0 else None)


def roc(name: str, power: float) -> Roc:
    alarms = np.concatenate([[0.0], np.geomspace(1e-3, 1, 40)])
    auc = estimate(1 / (1 + power), 0.01)
    points = tuple((float(alarm), float(alarm**power)) for alarm in alarms)
    return Roc(attack=name, points=points, auc=auc, benign=N, successes=800)


def influence(name: str, scale: float) -> InfluenceGroups:
    ranks = np.linspace(1, -1, 128) ** 3

    def groups(values: NDArray[np.float64]) -> tuple[Estimate, Estimate, Estimate]:
        front, middle, tail = (
            estimate(float(part.mean()), 0.02, 200) for part in np.split(values, [16, 112])
        )
        return front, middle, tail

    curves = (ranks, ranks * (1 - scale) - 0.3 * scale, ranks * (1 - scale / 2) - 0.1 * scale)
    before, after, restored = (groups(curve) for curve in curves)
    return InfluenceGroups(
        attack=name,
        top_k=16,
        benign=before,
        attacked=after,
        defended=restored,
        benign_by_rank=tuple(curves[0].tolist()),
        attacked_by_rank=tuple(curves[1].tolist()),
        defended_by_rank=tuple(curves[2].tolist()),
    )


def subject(*, quick: bool = False) -> Subject:
    return Subject(
        file="model.nip.onnx",
        size_bytes=1_234_567,
        policy="guarded",
        precision="fp32",
        benign_budget=0.015,
        eps_pixel=8 / 255,
        graph_digest="sha256:" + "0a" * 32,
        weights_digest="sha256:" + "1b" * 32,
        test_digest="sha256:" + "2c" * 32,
        classes=CLASSES,
        seed=0,
        quick=quick,
        created="2025-01-01T00:00:00+00:00",
        machine={"cpu": "two cores", "versions": {"torch": "2.9", "foolbox": "3.3.4"}, "threads": 1},
    )


def worst(
    threats: tuple[Threat, ...], count: int, number: int, n: int = 200, epsilon: float | None = 8 / 255
) -> WorstCase:
    return WorstCase(
        threats=threats, epsilon=epsilon, attacks=number, undefended=Rate(0, n), defended=Rate(count, n)
    )


def full() -> Evaluation:
    """Everything present."""
    rows = attacks()
    names = [row.name for row in rows if row.core]
    return Evaluation(
        subject=subject(),
        benign=benign(),
        worst_case=(
            worst((Threat.GRAY_BOX,), 31, len(rows) - 8),
            worst((Threat.TRANSFER,), 120, 1, N),
            worst((Threat.QUERY,), 22, 2),
            worst((Threat.ADAPTIVE,), 17, 5, 500),
            worst(tuple(Threat), 3, len(rows)),
            worst(tuple(Threat), 0, len(rows), epsilon=None),
        ),
        mean_dsr=estimate(0.523, 0.017),
        attacks=rows,
        baselines=tuple(
            baseline(name, number, rows, ahead=ahead, variant=variant)
            for number, (name, ahead, variant) in enumerate(BASELINES)
        ),
        trade_offs=tuple(
            trade_off(name, number)
            for number, name in enumerate(
                (
                    "this file",
                    "random pattern in place of ρ",
                    "shuffled profiles",
                    "without ρ",
                    "without the early layers",
                )
            )
        ),
        detector=tuple(roc(name, 0.05 + 0.03 * number) for number, name in enumerate(names)),
        risk_coverage=tuple(
            RiskCoverage(
                name=name,
                points=tuple((float(x), 0.6 * float(x) ** (2 + i / 3)) for x in np.linspace(0.05, 1, 40)),
                n=N,
            )
            for i, name in enumerate(("benign", *names))
        ),
        influence=tuple(influence(name, 0.2 + 0.1 * number) for number, name in enumerate(names)),
        latency=tuple(
            Latency(
                batch=batch, plain_ms=0.4 * batch**0.8, defended_ms=0.63 * batch**0.8, ratio=1.573, rounds=15
            )
            for batch in (1, 8, 32)
        ),
        checks=(
            Check(
                "PGD leaves the undefended network no more accuracy than FGSM of the same ε",
                True,
                "0.4% against 12.0%",
            ),
            Check("more steps change less than a point", False, "PGD 50 steps 3.2%, 200 steps 1.1%"),
            Check("no query attack is stronger than the adaptive ones", True, "11.0% against 3.4%"),
        ),
        not_measured=(NotMeasured("JSMA, one-pixel, Pointwise", "left out with --attacks"),),
    )


def minimal() -> Evaluation:
    """A quick run: gray-box alone, no baselines, nothing of the gate."""
    rows = tuple(row for row in attacks() if row.name in ("FGSM 8/255", "PGD 8/255", "PGD 25/255"))
    whole = full()
    return replace(
        whole,
        subject=subject(quick=True),
        benign=replace(
            whole.benign, false_corrections=None, flagged=None, flagged_correct=None, second_pass=None
        ),
        worst_case=(worst((Threat.GRAY_BOX,), 31, 3),),
        attacks=rows,
        baselines=(),
        trade_offs=(),
        detector=(),
        risk_coverage=(),
        influence=(),
        latency=(),
        checks=(),
        not_measured=(NotMeasured("T2, T3, T4", "--quick runs the gray-box attacks alone"),),
    )


def edge() -> Evaluation:
    """Attacks without a single success, rates that cannot be had, one ε, baselines nothing is known of."""
    whole = full()
    none = attack("uniform noise 8/255", "uniform noise", epsilon=8 / 255, core=True, left=0.92)
    rows = (none, attack("PGD 8/255", "PGD", epsilon=8 / 255, core=True, left=0.0, dsr=0.0, n=1))
    unknown = replace(
        whole.baselines[3],
        attacks=(
            BaselineAttack(
                name=none.name, defended=none.defended, dsr=None, detected=None, against_file=None
            ),
        ),
        mean_dsr=None,
        lead=None,
    )
    return replace(
        whole,
        worst_case=(),
        mean_dsr=None,
        attacks=rows,
        baselines=(unknown,),
        trade_offs=(TradeOff(name="this file", points=(), chosen=None),),
        detector=(),
        risk_coverage=(),
        influence=whole.influence[:1],
        latency=whole.latency[:1],
        not_measured=(),
    )


def gallery() -> Gallery:
    """Noise in colours, on its way through nothing."""
    rng = np.random.default_rng(0)
    clean = rng.random((8, 3, 32, 32)).astype(np.float32)
    truth = np.arange(8)
    wrong = np.roll(truth, 1)
    shown = make_gallery(
        "PGD 8/255",
        epsilon=8 / 255,
        clean=clean,
        attacked=np.clip(clean + rng.choice([-8, 8], clean.shape).astype(np.float32) / 255, 0, 1),
        truth=truth,
        benign=Answers(truth, truth, np.zeros(8, bool), None),
        answers=Answers(np.where(truth < 4, truth, wrong), wrong, truth < 5, None),
        rho=rng.uniform(-8 / 255, 8 / 255, clean.shape).astype(np.float32),
        seen=clean[..., ::-1],
        seen_labels=np.where(truth < 2, truth, wrong),
        class_names=CLASSES,
        eps_pixel=8 / 255,
    )
    assert shown is not None
    return shown
