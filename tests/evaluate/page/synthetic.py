"""Evaluations made up for testing how the page shows them: numbers that fit together, nobody's results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nip_export.evaluate.answers import Answers
from nip_export.evaluate.page import Gallery, make_gallery
from nip_export.evaluate.results import (
    AttackResult,
    BaselineAttack,
    BaselineResult,
    BenignResult,
    Check,
    Estimate,
    Evaluation,
    InfluenceGroups,
    Latency,
    NotMeasured,
    PairedTest,
    RiskCoverage,
    Roc,
    Subject,
    TradeOff,
    TradeOffPoint,
    WorstCase,
)
from nip_export.evaluate.threats import Norm, Threat
from nip_runtime.rates import Rate

N = 1000
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def estimate(value: float, half: float, n: int = N) -> Estimate:
    return Estimate(value, value - half, value + half, n, "bootstrap over images, 2000 draws")


def attack(
    name: str,
    family: str,
    *,
    threat: Threat = Threat.GRAY_BOX,
    norm: Norm = Norm.LINF,
    epsilon: float | None = None,
    confidence: float | None = None,
    core: bool = False,
    n: int = N,
    left: float = 0.05,
    dsr: float = 0.5,
    queries: float | None = None,
) -> AttackResult:
    """`left` is the share that the network still answers rightly, `dsr` of the rest what is undone."""
    right = round(0.92 * n)
    undefended = round(left * n)
    successes = right - undefended
    repaired = round(dsr * successes)
    broken = round(0.03 * undefended)
    defended = undefended - broken + repaired
    p_value = 0.4 if repaired <= broken + 4 else 1e-6
    return AttackResult(
        name=name,
        family=family,
        threat=threat,
        library="foolbox",
        source="Madry et al., ICLR 2018",
        settings="50 steps, relative step 0.1, 3 restarts",
        norm=norm,
        epsilon=epsilon,
        confidence=confidence,
        core=core,
        undefended=Rate(undefended, n),
        defended=Rate(defended, n),
        successes=successes,
        dsr=Rate(repaired, successes) if successes else None,
        detected=Rate(min(successes, repaired + 10), successes) if successes else None,
        broken=Rate(broken, undefended) if undefended else None,
        gain=PairedTest(repaired, broken, p_value),
        agreement=Rate(n - 1, n),
        mean_linf=epsilon if epsilon is not None and norm is Norm.LINF else 0.11,
        mean_l2=1.37,
        queries=queries,
        seconds=41.7,
    )


def attacks() -> tuple[AttackResult, ...]:
    rows = []
    for family, base in (("FGSM", 0.6), ("MI-FGSM", 0.66), ("PGD", 0.72)):
        for size, left in ((2, 0.7), (4, 0.43), (8, 0.14), (16, 0.02), (25, 0.0), (51, 0.0)):
            core = (family, size) in {("FGSM", 8), ("FGSM", 25), ("PGD", 8), ("PGD", 25), ("MI-FGSM", 16)}
            dsr = max(0.0, base - size * size / 900)
            rows.append(
                attack(f"{family} {size}/255", family, epsilon=size / 255, core=core, left=left, dsr=dsr)
            )
    rows.append(attack("L2-PGD 1.5", "L2-PGD", norm=Norm.L2, epsilon=1.5, core=True, dsr=0.58))
    for kappa, dsr in ((0, 0.86), (5, 0.61), (20, 0.07)):
        rows.append(
            attack(
                f"C&W κ={kappa}",
                "C&W",
                norm=Norm.L2,
                confidence=kappa,
                core=kappa < 20,
                left=0.0,
                dsr=dsr,
                n=200,
            )
        )
    rows.append(
        attack(
            "PGD 8/255 from ResNet",
            "PGD transfer",
            threat=Threat.TRANSFER,
            epsilon=8 / 255,
            left=0.4,
            dsr=0.3,
        )
    )
    for name, dsr, asked in (("Square 8/255", 0.05, 2512.0), ("HopSkipJump", 0.02, 10211.5)):
        rows.append(
            attack(name, name, threat=Threat.QUERY, epsilon=8 / 255, left=0.1, dsr=dsr, queries=asked, n=200)
        )
    for letter, dsr in zip("abcde", (0.06, 0.05, 0.031, 0.02, 0.045), strict=True):
        name = f"adaptive {letter} 8/255"
        rows.append(attack(name, name, threat=Threat.ADAPTIVE, epsilon=8 / 255, left=0.05, dsr=dsr, n=500))
    return tuple(rows)


def benign(cost: float = 0.013, n: int = N) -> BenignResult:
    right = round(0.92 * n)
    lost = round(cost * n)
    return BenignResult(
        undefended=Rate(right, n),
        defended=Rate(right - lost, n),
        cost=estimate(lost / n, 0.006, n),
        false_corrections=Rate(lost + 4, right),
        flagged=Rate(round(0.06 * n), n),
        flagged_correct=Rate(round(0.04 * n), right),
        second_pass=Rate(round(0.38 * n), n),
    )


def baseline(
    name: str, number: int, rows: tuple[AttackResult, ...], *, ahead: float, variant: bool
) -> BaselineResult:
    rng = np.random.default_rng(number)
    entries = []
    for row in rows:
        if row.threat is Threat.GRAY_BOX and row.core and row.dsr is not None:
            value = float(np.clip(row.dsr.value + ahead + rng.normal(0, 0.08), 0, 1))
            count = round(value * row.dsr.n)
            more = count - row.dsr.count
            test = PairedTest(30 + max(0, -more), 30 + max(0, more), 0.3 if abs(more) < 25 else 1e-5)
            entries.append(
                BaselineAttack(
                    name=row.name,
                    defended=Rate(count, row.defended.n),
                    dsr=Rate(count, row.dsr.n),
                    against_file=test,
                )
            )
    return BaselineResult(
        name=name,
        description="OpenCV, quality 75, on every image; the strength is the one of the file's benign cost",
        passes=1.0 if not variant else 2.0,
        variant=variant,
        benign=benign(0.01 + 0.002 * number),
        attacks=tuple(entries),
        mean_dsr=estimate(0.52 + ahead, 0.02),
        lead=estimate(-ahead, 0.018),
    )


BASELINES = (
    ("random pattern in place of ρ", -0.01, False),
    ("shuffled profiles", -0.03, False),
    ("noise odds test", -0.12, False),
    ("JPEG 75", -0.31, False),
    ("JPEG 50", -0.26, False),
    ("median blur 3×3", -0.18, False),
    ("bit depth 3", -0.34, False),
    ("bit depth 4", -0.40, False),
    ("PGD-trained network", 0.12, False),
    ("all rows pay two passes", 0.004, True),
    ("without the early layers", -0.2, True),
    ("without ρ", -0.02, True),
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

    def groups(values: np.ndarray) -> tuple[Estimate, Estimate, Estimate]:
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


def worst(threats: tuple[Threat, ...], count: int, number: int, n: int = 200) -> WorstCase:
    return WorstCase(threats=threats, attacks=number, undefended=Rate(0, n), defended=Rate(count, n))


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
        attacks=(BaselineAttack(name=none.name, defended=none.defended, dsr=None, against_file=None),),
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
        perturbed_labels=np.where(truth < 2, truth, wrong),
        class_names=CLASSES,
        eps_pixel=8 / 255,
    )
    assert shown is not None
    return shown
