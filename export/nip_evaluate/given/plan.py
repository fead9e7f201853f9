"""What an evaluation does: threats, attacks, sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nip_evaluate.baselines.variants import VariantKind
from nip_evaluate.terms.threats import AttackCase, Threat
from nip_runtime.errors import InputError

ALL_THREATS = tuple(Threat)
ADAPTIVE_EPS = (8 / 255, 25 / 255)


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Settings of :func:`nip_evaluate.run.run_evaluation`.

    Args:
        threats: which threat models; what is left out is named in the report.
        attacks: gray-box attacks by name, family or group ("core", "natural", "quick", "all").
        eps: ε of the L∞ families in input units; None for the catalogue's own.
        images: how many of the test images are attacked at most, the first ones; None: all. All of them
            tell the benign cost.
        quick: few images and steps everywhere: minutes instead of hours, wide intervals.
        adaptive_eps: ε of the adaptive attacks; the default stands for smaller ones on recordings.
        adaptive_images: how many images those take at most; None: 200, or 30 with `quick`.
        baselines: whether the file is compared with other defences.
        caps: how many images attacks take at most, by name, family or threat ("C&W", "T4"); what is not named
            takes as many as it states.
        without: baselines left out, by name.
        seed: of everything random.

    Raises:
        InputError: naming the field and its value.
    """

    threats: tuple[Threat, ...] = ALL_THREATS
    attacks: tuple[str, ...] = ("all",)
    eps: tuple[float, ...] | None = None
    images: int | None = None
    quick: bool = False
    adaptive_eps: tuple[float, ...] = ADAPTIVE_EPS
    adaptive_images: int | None = None
    baselines: bool = True
    caps: Mapping[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.threats or len(set(self.threats)) != len(self.threats):
            raise InputError.mismatch(
                expected="threats: at least one of T1 to T4, each once",
                got=", ".join(self.threats) or "none",
                fix="pass for instance --threat t1,t4",
            )
        if not self.attacks:
            raise InputError.mismatch(
                expected="attacks: at least one name or group", got="none", fix="pass for instance core"
            )
        if self.eps is not None and not (self.eps and all(math.isfinite(e) and e > 0 for e in self.eps)):
            raise InputError.mismatch(
                expected="eps: positive numbers", got=str(self.eps), fix="pass for instance 8/255,25/255"
            )
        if not (self.adaptive_eps and all(0 < epsilon <= 1 for epsilon in self.adaptive_eps)):
            raise InputError.mismatch(
                expected="adaptive_eps: at least one, each in (0, 1]",
                got=str(self.adaptive_eps),
                fix="divide an ε on the scale of 0…255 by 255, or leave T4 out",
            )
        if self.images is not None and self.images < 2:
            raise InputError.mismatch(expected="images: at least 2", got=str(self.images), fix="pass more")
        if self.adaptive_images is not None and self.adaptive_images < 1:
            raise InputError.mismatch(
                expected="adaptive_images: at least 1", got=str(self.adaptive_images), fix="pass more"
            )
        if self.seed < 0:
            raise InputError.mismatch(expected="seed: 0 or more", got=str(self.seed), fix="pass another")
        if any(images < 1 for images in self.caps.values()):
            raise InputError.mismatch(
                expected="caps: at least one image each", got=str(dict(self.caps)), fix="raise them"
            )

    def capped(self, case: AttackCase) -> AttackCase:
        """The attack on no more images than the plan allows it."""
        limits = [self.caps[name] for name in (case.name, case.family, case.threat) if name in self.caps]
        if case.images is not None:
            limits.append(case.images)
        return replace(case, images=min(limits)) if limits else case

    def left_out(self) -> tuple[str, ...]:
        """Baselines that are not run: one whose ρ per class take longest to make goes in a quick run."""
        return (*self.without, VariantKind.ALWAYS) if self.quick else self.without
