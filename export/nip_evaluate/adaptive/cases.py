"""The six adaptive attacks of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nip_evaluate.adaptive.craft import Attempt, Start, attack
from nip_evaluate.adaptive.objectives import (
    every_branch,
    every_view,
    over_the_gate,
    through_the_defence,
    under_the_gate,
)
from nip_evaluate.adaptive.relaxed import softly
from nip_evaluate.terms.threats import AttackCase, Norm, Threat, epsilon_name

STEPS, QUICK_STEPS = 100, 25
IMAGES, QUICK_IMAGES = 200, 30


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An adaptive attack at any ε: its attempts, in order, and what a table says of them."""

    family: str
    settings: str
    source: str
    attempts: tuple[Attempt, ...]


RECIPES = (
    Recipe(
        family="adaptive a: through the defence",
        settings="margin of the defended logits, argmax and gate as the graph chooses; then at the two "
        "likeliest wrong classes",
        source="Croce and Hein, ICML 2020",
        attempts=(
            Attempt(objective=through_the_defence, straight_through=False),
            Attempt(objective=through_the_defence, straight_through=False, rank=0),
            Attempt(objective=through_the_defence, straight_through=False, rank=1),
        ),
    ),
    Recipe(
        family="adaptive b: soft selection",
        settings="margin of raw and corrected probabilities mixed by a sigmoid gate, soft argmax, "
        "clip as the identity backwards; temperature 2, then 1, then 0.5",
        source="Athalye et al., ICML 2018 (BPDA)",
        attempts=(
            Attempt(objective=softly(temperature=2.0)),
            Attempt(objective=softly(temperature=1.0)),
            Attempt(objective=softly(temperature=0.5)),
        ),
    ),
    Recipe(
        family="adaptive c: every branch",
        settings="smallest wrong-class margin over raw logits and corrected answer, then the branch that "
        "never gives the true class: predicted, and flagged",
        source="Tramèr et al., NeurIPS 2020",
        attempts=(Attempt(objective=every_branch), Attempt(objective=over_the_gate)),
    ),
    Recipe(
        family="adaptive d: under the gate",
        settings="raw margin less the gate's excess, tapped activations drawn to a benign image of the "
        "target class; at the two likeliest wrong classes, then at any without the matching",
        source="Tramèr et al., NeurIPS 2020; Sabour et al., ICLR 2016",
        attempts=(
            Attempt(objective=under_the_gate(matching=0.3), rank=0),
            Attempt(objective=under_the_gate(matching=0.3), rank=1),
            Attempt(objective=under_the_gate(matching=0)),
        ),
    ),
    Recipe(
        family="adaptive e: warm start",
        settings="from PGD on the undefended network within ε, at any class and the two likeliest: soft "
        "selection of temperature 1, 2 and 0.5",
        source="Tramèr et al., NeurIPS 2020",
        attempts=(
            Attempt(objective=softly(temperature=1.0), start=Start.UNDEFENDED),
            Attempt(objective=softly(temperature=2.0), start=Start.UNDEFENDED, rank=0),
            Attempt(objective=softly(temperature=0.5), start=Start.UNDEFENDED, rank=1),
        ),
    ),
    Recipe(
        family="adaptive f: every view, typical",
        settings="a wrong class in both passes, below screen and gate, features kept near a benign centre "
        "and drawn to a benign image of the target class; at the two likeliest wrong classes, then at any "
        "without the matching",
        source="after Tramèr et al., NeurIPS 2020",
        attempts=(
            Attempt(objective=every_view(matching=0.3), rank=0),
            Attempt(objective=every_view(matching=0.3), rank=1),
            Attempt(objective=every_view(matching=0)),
        ),
    ),
)


def adaptive_cases(
    eps: Sequence[float] = (8 / 255, 25 / 255), *, quick: bool = False, images: int | None = None
) -> tuple[AttackCase, ...]:
    """Attackers who know profiles, perturbations and thresholds, six at every ε.

    They differentiate through the torch twin: `craft` takes the :class:`nip_export.verify.DefendedTwin`
    itself as the attacked module, and raises InputError for another. A row is done when the twin's *defended*
    answer is wrong; under policy ``detect``, when the raw answer is wrong and the row is not flagged. Nothing
    in the defence is random, so that there is no expectation over transformations (EOT) to take.

    Args:
        eps: budgets, largest change of an input element.
        quick: fewer steps on fewer images, for a look.
        images: how many images at most; None: 200, or 30 with `quick`.
    """
    if images is None:
        images = QUICK_IMAGES if quick else IMAGES
    steps = QUICK_STEPS if quick else STEPS
    return tuple(_case(recipe, epsilon, steps, images) for epsilon in eps for recipe in RECIPES)


def _case(recipe: Recipe, epsilon: float, steps: int, images: int) -> AttackCase:
    size = epsilon_name(epsilon)
    return AttackCase(
        name=f"{recipe.family} {size}",
        family=recipe.family,
        threat=Threat.ADAPTIVE,
        library="nip_export",
        source=recipe.source,
        settings=f"L∞, {len(recipe.attempts)} starts of {steps} APGD steps: {recipe.settings}; the defence "
        "is deterministic, so no EOT",
        norm=Norm.LINF,
        epsilon=epsilon,
        images=images,
        craft=partial(attack, attempts=recipe.attempts, epsilon=epsilon, steps=steps),
    )
