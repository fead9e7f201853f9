"""Whether an attack with more steps would have got further: then its numbers would be too kind to us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nip_evaluate.attacks.gradient import PGD_STEPS, pgd
from nip_evaluate.attacks.sound import USUAL_EPSILON
from nip_evaluate.baselines import logits_of, network_labels
from nip_evaluate.given.target import Undefended
from nip_evaluate.scoring import MoreSteps
from nip_evaluate.stages.craft import Crafter
from nip_evaluate.terms.threats import Attacked, Threat
from nip_runtime.file.rates import Rate

IMAGES, QUICK_IMAGES = 200, 100
FACTOR = 2


def compare_steps(
    crafter: Crafter, undefended: Undefended, attacked: Sequence[Attacked], *, quick: bool
) -> MoreSteps | None:
    """Run the weakest gray-box PGD again with twice the steps; None if there was no such attack."""
    runs = [
        made
        for made in attacked
        if made.case.threat is Threat.GRAY_BOX and made.case.family == "PGD" and made.case.epsilon is not None
    ]
    # At a large ε nothing is left to gain; at a tiny one little is moved. These are what tables compare by.
    low, high = crafter.bounds
    usual = 8 / 255 * (high - low) if crafter.images.ndim != 3 else USUAL_EPSILON
    run = min(runs, key=lambda made: abs((made.case.epsilon or 0) - usual), default=None)
    if run is None or run.case.epsilon is None:
        return None
    count = min(QUICK_IMAGES if quick else IMAGES, len(run.images))
    case = replace(
        run.case,
        name=f"{run.case.name}, {FACTOR * PGD_STEPS} steps",
        settings=run.case.settings.replace(str(PGD_STEPS), str(FACTOR * PGD_STEPS)),
        images=count,
        core=False,
        craft=pgd(run.case.epsilon / (high - low), steps=FACTOR * PGD_STEPS),
    )
    (more,) = crafter.craft([case], undefended)
    labels_of, truth = network_labels(logits_of(undefended)), crafter.labels[:count]

    def accuracy(made: Attacked) -> Rate:
        return Rate(int((labels_of(made.images[:count]) == truth).sum()), count)

    return MoreSteps(
        attack=run.case.name,
        steps=PGD_STEPS,
        more_steps=FACTOR * PGD_STEPS,
        accuracy=accuracy(run),
        accuracy_more=accuracy(more),
    )
