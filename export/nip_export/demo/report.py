"""The demo's report: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nip_export.demo.figures import accuracy_figure, influence_figure
from nip_export.demo.influence import Condition, InfluenceShift
from nip_export.demo.scores import AttackScore, DemoScores
from nip_runtime.manifest import Manifest
from nip_runtime.rates import Rate

if TYPE_CHECKING:
    from nip_export.demo.attacks import AttackCase


UNMOVED = 1e-6
"""Differences of mean influence, in logits, below which nothing happened."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One row of the image grid; images are PNG data URIs, classes are names."""

    true_class: str
    attacked_class: str
    perturbed_class: str
    defended_class: str
    flagged: bool
    benign_uri: str
    attacked_uri: str
    difference_uri: str
    perturbation_uri: str
    perturbed_uri: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The image grid and the influence plot, which show one attack.

    Attributes:
        case: the attack shown.
        panels: rows of the grid.
        difference_scale: attacked − benign is drawn from −this to +this, in 1/255.
        perturbation_scale: likewise for the inverse perturbation.
        shift: influence before, under and after the attack; None where nothing was fooled.
    """

    case: AttackCase
    panels: tuple[Panel, ...]
    difference_scale: int
    perturbation_scale: int
    shift: InfluenceShift | None


@dataclass(frozen=True)
class Sizes:
    """File sizes in bytes."""

    plain: int
    defended: int


@dataclass(frozen=True)
class Check:
    """A claim that sound attacks fulfil, and whether these did."""

    claim: str
    holds: bool


def sanity_checks(scores: DemoScores) -> tuple[Check, ...]:
    """What must hold if the attacks were run properly; those that cannot be told are left out."""
    by_name = {score.case.name: score.undefended.value for score in scores.attacks}
    checks = []
    if {"FGSM 8/255", "PGD 8/255"} <= by_name.keys():
        holds = by_name["PGD 8/255"] <= by_name["FGSM 8/255"]
        checks.append(
            Check("PGD leaves the undefended network no more accuracy than FGSM of the same ε", holds)
        )
    if {"PGD 8/255", "PGD 25/255"} <= by_name.keys():
        holds = by_name["PGD 25/255"] <= by_name["PGD 8/255"]
        checks.append(Check("PGD with the larger ε leaves no more accuracy than with the smaller", holds))
    if "PGD 25/255" in by_name:
        holds = by_name["PGD 25/255"] <= 0.1
        checks.append(Check("PGD 25/255 brings the undefended network down to chance or below", holds))
    free = [score.undefended.value for score in scores.attacks if score.case.minimum_norm]
    if free:
        holds = max(free) <= 0.01
        checks.append(Check("the minimum-norm attacks, free in their norm, succeed on 99 % of images", holds))
    for score in scores.attacks:
        claim = (
            f"{score.case.name}: the file's raw logits and torch agree on attacked images, {score.agreement}"
        )
        checks.append(Check(claim, score.agreement.value >= 0.99))
    return tuple(checks)


def influence_findings(shift: InfluenceShift) -> tuple[str, ...]:
    """What the influence plot shows, in words computed from it, whichever way it went."""
    means = shift.by_group()
    lines = []
    for index, group in enumerate(("front", "middle", "tail")):
        benign, attacked, restored = (means[condition][index].value for condition in Condition)
        values = f"mean influence {benign:+.3f} → {attacked:+.3f}"
        gap = abs(attacked - benign)
        if gap < UNMOVED:
            lines.append(f"{group} neurons: left as they were by the attack, {values}.")
            continue
        # By magnitude: a tail neuron that the attack enhances weighs more *against* the true class.
        moved = "enhanced" if abs(attacked) > abs(benign) else "suppressed"
        closed = 1 - abs(restored - benign) / gap
        answer = (
            f"the inverse perturbation closed {closed:.0%} of the gap"
            if closed > 0
            else f"the inverse perturbation did not close the gap but widened it by {-closed:.0%}"
        )
        lines.append(f"{group} neurons: {moved} by the attack, {values}; {answer} (→ {restored:+.3f}).")
    return tuple(lines)


def render_report(scores: DemoScores, manifest: Manifest, gallery: Gallery, *, sizes: Sizes) -> str:
    """The whole report as one HTML document."""
    environment = Environment(
        loader=PackageLoader("nip_export.demo", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters.update(share=_share, interval=_interval)
    shift = gallery.shift
    return environment.get_template("report.html.j2").render(
        scores=scores,
        manifest=manifest,
        headline=_headline(scores.attacks),
        accuracy_svg=Markup(accuracy_figure(scores)),
        panels=gallery.panels,
        shown_case=gallery.case,
        shown_scale=gallery.difference_scale,
        perturbation_scale=gallery.perturbation_scale,
        shift=shift,
        influence_svg=None if shift is None else Markup(influence_figure(shift)),
        findings=() if shift is None else influence_findings(shift),
        checks=sanity_checks(scores),
        facts=_facts(scores, manifest, sizes),
    )


def _headline(attacks: Sequence[AttackScore]) -> AttackScore | None:
    # The strongest of the attacks with an ε that readers compare by; never a minimum-norm one.
    return next((score for score in attacks if score.case.name == "PGD 8/255"), None)


def _facts(scores: DemoScores, manifest: Manifest, sizes: Sizes) -> list[tuple[str, str]]:
    defence, calibration, made = manifest.defence, manifest.calibration, manifest.provenance
    return [
        ("policy", str(manifest.policy)),
        (
            "file size",
            f"{_kilobytes(sizes.defended)}, of it {_kilobytes(defence.bank.size_bytes)} perturbation bank "
            f"and {_kilobytes(defence.readout_size_bytes)} read-outs; plain file {_kilobytes(sizes.plain)}",
        ),
        (
            "inverse perturbation",
            f"‖ρ‖∞ ≤ {defence.eps_pixel * 255:.3g}/255, {defence.bank.rows} in the bank",
        ),
        ("tapped layers", ", ".join(tap.name for tap in defence.taps)),
        ("influence layer", f"{defence.influence_layer}, k = {defence.top_k}"),
        ("tests of the gate", ", ".join(defence.tests)),
        (
            "calibration",
            f"{calibration.images} benign images, budget {_share(calibration.benign_budget)}, "
            f"flagged {calibration.flag_rate}",
        ),
        (
            "parity with torch",
            f"largest logit error {manifest.verification.max_abs_logit_error:.2g}, same answer on "
            f"{_share(manifest.verification.argmax_agreement)} of {manifest.verification.images} images",
        ),
        *((f"attack: {score.case.name}", _attack_fact(score)) for score in scores.attacks),
        ("seed", str(scores.seed)),
        (
            "made with",
            f"{made.tool}, torch {made.torch}, onnx-ir {made.onnx_ir}, onnxruntime {made.onnxruntime}",
        ),
        ("made on", made.created),
        ("digest of the graph", manifest.digests.graph),
        ("digest of the calibration data", manifest.digests.calibration_data),
    ]


def _attack_fact(score: AttackScore) -> str:
    return f"{score.case.settings}; first {score.defended.n} test images"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _interval(rate: Rate) -> str:
    low, high = rate.interval
    return f"{low:.1%} – {high:.1%}"


def _kilobytes(size_bytes: int) -> str:
    return f"{size_bytes / 1000:,.1f} kB"
