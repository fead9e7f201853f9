"""Brings attack and victim together; what was done before comes from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from nip_evaluate.attacks import run_attack
from nip_evaluate.given.store import AttackStore, digest_of
from nip_evaluate.terms.threats import AttackCase, Attacked, Images, Labels
from nip_export.attach.writing import weights_digest
from nip_export.support.progress import Progress


@dataclass(frozen=True, eq=False)
class Crafter:
    """Attacks the first test images.

    Attributes:
        store: where finished attacks are.
        images: (N, *shape) float32 within the bounds, the images that may be attacked.
        labels: (N,) int64.
        seed: of the attacks.
        progress: who waits.
        bounds: lowest and highest value of the images.
    """

    store: AttackStore
    images: Images
    labels: Labels
    seed: int
    progress: Progress
    bounds: tuple[float, float] = (0.0, 1.0)

    def craft(
        self, cases: Sequence[AttackCase], victim: nn.Module, *, victim_digest: str | None = None
    ) -> tuple[Attacked, ...]:
        """Run the cases one after the other.

        Args:
            cases: attacks.
            victim: what they attack.
            victim_digest: tells victims apart; by default the digest of the victim's weights and buffers.
        """
        digest = weights_digest(victim) if victim_digest is None else victim_digest
        return tuple(self._one(case, victim, digest) for case in cases)

    def _one(self, case: AttackCase, victim: nn.Module, digest: str) -> Attacked:
        count = len(self.images) if case.images is None else min(case.images, len(self.images))
        images, labels = self.images[:count], self.labels[:count]

        def make() -> Attacked:
            advance = self.progress(f"attack: {case.threat.value} {case.name}", count)
            return run_attack(
                case, victim, images, labels, seed=self.seed, advance=advance, bounds=self.bounds
            )

        return self.store.recall(case, make, victim=digest, images=digest_of(images, labels), seed=self.seed)
