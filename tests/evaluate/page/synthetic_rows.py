"""Evaluations made up for testing how the page shows them: numbers that fit together, nobody's results."""

from __future__ import annotations

import numpy as np

from nip_evaluate.terms.results import (
    AttackResult,
    BaselineAttack,
    BaselineResult,
    BenignResult,
    Estimate,
    PairedTest,
)
from nip_evaluate.terms.threats import Norm, Threat
from nip_runtime.file.rates import Rate

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
                    detected=Rate(min(count + 3, row.dsr.n), row.dsr.n) if variant else None,
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
