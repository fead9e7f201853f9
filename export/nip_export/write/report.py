"""What an export tells the one who asked for it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nip_export.calibrate.screen import ScreenCost
from nip_export.calibrate.view import enough_mistakes
from nip_export.defence.spec import DefenceSpec
from nip_export.defence.views import view_name
from nip_export.fit.layers import LayerReport
from nip_export.fit.profiles import InfluenceProfile
from nip_export.network import TapPlan
from nip_export.network.tapped import TappedNetwork
from nip_export.precision.agreement import Agreement
from nip_export.verify import Comparison
from nip_runtime.file.manifest import Labels, Layout, Manifest, Policy
from nip_runtime.file.rates import Rate

LOW_ACCURACY = 0.5
WIDTH = 104
"""Characters of the longest texts of a summary."""
UNTESTED = (
    "none made: how many it detects and repairs is not known. --self-test makes some, nip evaluate many"
)
NOTABLE_LOSS = 0.02
"""Benign accuracy that policy ``always`` may cost without a warning."""


def in_input_units(manifest: Manifest) -> str:
    """ε as the input counts: in 255ths for pixels, else as a number of the input's own."""
    eps = manifest.defence.eps_pixel
    pixels = manifest.input.layout is Layout.NCHW and manifest.input.bounds == (0.0, 1.0)
    return f"{eps * 255:.3g}/255" if pixels else f"{eps:.4g}"


@dataclass(frozen=True)
class Attempt:
    """Projected gradient descent within ε (Madry et al. 2018) on rightly classified calibration images.

    Attributes:
        eps: largest change of an input element, in input units.
        fooled: attacked images that the network alone gets wrong.
        detected: of those, flagged by the file; None if none fooled the network.
        repaired: of those, answered rightly by the file; likewise.
    """

    eps: float
    fooled: Rate
    detected: Rate | None
    repaired: Rate | None


@dataclass(frozen=True, eq=False)
class ExportReport:
    """A finished export.

    Attributes:
        path: the file.
        manifest: what it says about itself.
        size_bytes: of the file.
        plain_size_bytes: of the backbone alone, exported the same way.
        layers: the early layers considered.
        comparison: the file against numpy oracle and, for fp32, torch twin.
        screen: what the screen costs; None without a screen.
        agreement: the converted backbone beside its fp32 original; None for fp32.
        plan: the tapped layers.
        profiles: influence per tapped layer.
        spec: the defence, for oracle and twin.
        network: the backbone with its normalisation and the taps that oracle and twin need.
        attempts: what the self-test saw; none, if it was not asked for.
        seconds: wall time of the export.
        notes: what had to be done to the user's model to read logits from it.
    """

    path: Path
    manifest: Manifest
    size_bytes: int
    plain_size_bytes: int
    layers: tuple[LayerReport, ...]
    comparison: Comparison
    screen: ScreenCost | None
    agreement: Agreement | None
    plan: TapPlan
    profiles: Mapping[str, InfluenceProfile]
    spec: DefenceSpec
    network: TappedNetwork
    attempts: tuple[Attempt, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Whether images had labels; without, accuracies are agreement with the network itself."""
        return self.manifest.calibration.labels is Labels.GIVEN

    def summary(self) -> str:
        """Several lines of plain text for a terminal."""
        m, c, said = self.manifest, self.manifest.calibration, self.manifest.input.said
        ones = "correct ones" if self.is_labelled else "all"
        extra = self.size_bytes - self.plain_size_bytes
        rows = (
            ("file", f"{self.path}  {self.size_bytes / 1e6:.2f} MB"),
            ("", f"backbone alone {self.plain_size_bytes / 1e6:.2f} MB, defence +{extra / 1e3:.0f} kB"),
            ("policy", f"{m.policy}, ε = {in_input_units(m)}, k = {m.defence.top_k}"),
            *self._images(),
            *self._precision(),
            *(("look here", note) for note in self.notes),
            ("influence layer", self.plan.features),
            ("early read-out", self._early()),
            ("also considered", ", ".join(r.tap for r in self.layers if not r.used) or "–"),
            *self._view(),
            ("calibrated on", f"{c.images} {said('benign images')}, budget {c.benign_budget:.1%}"),
            ("benign flagged", f"{c.flag_rate}  of {ones}, cross-validated"),
            ("second pass", f"{c.pass2_rate}"),
            *self._screen(),
            *self._labels(),
            ("benign accuracy" if self.is_labelled else "agreement", f"{c.accuracy_raw} before"),
            ("", f"{c.accuracy_defended} after, cross-validated"),
            *self._coverage(),
            *self._verdict(),
            *self._warnings(),
            (
                "verified",
                f"{self.comparison.images} {said('images')} at batch "
                f"{', '.join(map(str, self.comparison.batches))}: largest "
                f"logit error {self.comparison.max_abs_logit_error:.1e}, at most "
                f"{max(self.comparison.of_allowed, 0.01):.0%} of what is allowed, same class in "
                f"{self.comparison.argmax_agreement:.0%}",
            ),
            *self._second_pass(),
            *self._self_test(),
            ("time", f"{self.seconds:.0f} s"),
        )
        return "\n".join(f"{label:<16}  {text}" for label, text in rows)

    def _images(self) -> list[tuple[str, str]]:
        """How hosts bring images to the network's size."""
        told = self.manifest.input
        if told.layout is not Layout.NCHW:
            return []
        size = f"{told.shape[1]}x{told.shape[2]}"
        if told.preprocess is not None:
            how = f"shorter side resized to {told.preprocess.resize}, {told.preprocess.interpolation}"
            return [("images", f"{how}; middle {size} taken")]
        if told.resize is not None:
            return _wrapped(
                "images",
                f"stretched to {size}, {told.resize}, whatever their shape; where the training cropped, name "
                "--preprocess",
            )
        return [("images", f"{size}; others are refused, for neither --size nor --preprocess was named")]

    def _early(self) -> str:
        """Which early layers have a say."""
        weight = self.spec.gate.early_weight
        alone = "alone" if self.is_labelled else "agreement with the network"
        used = ", ".join(f"{r.tap} ({r.accuracy.value:.1%} {alone})" for r in self.layers if r.used)
        if not self.plan.early:
            return "no layer lies before the features; how sure the network is stands in"
        if not self.spec.readouts:
            return "none knows more than a guess; how sure the network is stands in"
        if weight == 0 and self.layers:
            return f"{used}: no more than a guess, so it says nothing"
        return f"{used}, counts {weight:.2f} in the answer"

    def _coverage(self) -> list[tuple[str, str]]:
        """Which classes had images."""
        found = self.manifest.coverage
        if found is None:
            return []
        classes = found.with_images + found.without_images
        said = self.manifest.input.said
        lines = [
            f"{found.with_images} of {classes} had {said('images')}, {found.few_images} of them fewer than 10"
        ]
        if found.pooled:
            lines.append(said(f"judged by all classes together: {', '.join(found.pooled)}"))
        if found.silent:
            lines.append(said(f"silent about classes without images: {', '.join(found.silent)}"))
        return [("classes" if line is lines[0] else "", line) for line in lines]

    def _verdict(self) -> list[tuple[str, str]]:
        """What the file can and cannot detect, and what would help."""
        found = self.manifest.verdict
        if found is None:
            return []
        lines = [("this file can", f"detect {text}") for text in found.detects]
        lines += [("it cannot", f"detect {text}") for text in found.misses]
        lines += [("to improve it", text) for text in found.advice]
        return [row for label, text in lines for row in _wrapped(label, text)]

    def _self_test(self) -> list[tuple[str, str]]:
        """What the file made of attacks on held-back images, or that nobody attacked it."""
        if not self.attempts:
            return _wrapped("attacks", UNTESTED)
        low, high = self.manifest.input.bounds
        lines = []
        for attempt in self.attempts:
            made = "none of them fooled the network"
            if attempt.detected is not None and attempt.repaired is not None:
                made = f"detected {attempt.detected}, repaired {attempt.repaired}"
            size = f"{255 * attempt.eps / (high - low):.3g}/255"
            lines.append(f"PGD {size} fooled the network on {attempt.fooled}; {made}")
        lines.append("attackers knew the network, not the defence; nothing was tuned by this")
        return [("self-test" if line is lines[0] else "", line) for line in lines]

    def _second_pass(self) -> list[tuple[str, str]]:
        """How far the answers of the second pass were compared, and whether it always has a row."""
        found, policy = self.comparison, self.manifest.policy
        what = "corrected answer" if policy is Policy.GUARDED else "answer from the second pass"
        lines = f"{what} of {found.second_pass} rows"
        if policy is not Policy.ALWAYS:
            lines += f", {found.flagged} flagged as the file is, the others with its cuts lowered"
        told = self.manifest.second_pass
        if told is None or not told.padding_row:
            return [("", lines)]
        return [
            ("", lines),
            ("padding row", "the first row takes the second pass where the screen picks none, for the"),
            ("", "network can't be relied on without rows; engine gated does without"),
        ]

    def _labels(self) -> list[tuple[str, str]]:
        """What stood in for labels."""
        if self.is_labelled:
            return []
        return [
            (
                "labels",
                "none: the network's own predictions stand in, so its mistakes count as right and what",
            ),
            ("", "follows is agreement with the network"),
        ]

    def _view(self) -> list[tuple[str, str]]:
        """How the second pass looks, and why."""
        gate = self.manifest.gate
        if gate is None or self.manifest.policy is Policy.ALWAYS:
            return []
        name = view_name(gate.view, rho=gate.rho)
        if not gate.views_tried:
            return [("second view", f"{name}, as asked for")]
        quality = next((step.quality for step in gate.view if step.quality is not None), None)
        stored = []
        if quality is not None:
            stored = [
                ("", f"begins with JPEG, for the benign images were stored at quality {quality};"),
                ("", "images stored otherwise are flagged more often: see docs/settings.md, second view"),
            ]
        tried = next(one for one in gate.views_tried if (one.view, one.rho) == (gate.view, gate.rho))
        told = "there was no mistake to judge by"
        if tried.repaired is not None:
            told = f"names the class of {tried.repaired} of the model's own mistakes"
        elif not self.is_labelled:
            told = "no mistake is known to judge by"
        few = []
        if not enough_mistakes([one.repaired for one in gate.views_tried]):
            few = [("", "too few mistakes to choose by: chosen by what right answers show")]
        return [
            ("second view", f"{name}, chosen among {len(gate.views_tried)}: keeps {tried.kept}"),
            ("", f"of right answers, and {told}"),
            *few,
            *stored,
        ]

    def _screen(self) -> list[tuple[str, str]]:
        """What the screen lets by."""
        if self.screen is None:
            return []
        lines = []
        benign = self.manifest.input.said("benign images")
        for what, rate in ((benign, self.screen.benign), ("noisy ones", self.screen.probes)):
            if rate is None:
                lines.append(f"no {what} would be flagged by both passes together")
            else:
                lines.append(f"of {what} that both passes would flag, it takes {rate}")
        return [("screen", lines[0]), ("", lines[1])]

    def _precision(self) -> list[tuple[str, str]]:
        """The arithmetic, and what converting to it changed."""
        precision, found = self.manifest.precision, self.agreement
        if found is None:
            return [("precision", str(precision))]
        return [
            ("precision", f"{precision}; same class as fp32 for {found.same_label} of calibration images,"),
            ("", f"largest logit change {found.max_abs_logit_difference:.2g}"),
            ("", f"fp32 {self.manifest.calibration.measure} {found.accuracy_fp32}"),
        ]

    def _warnings(self) -> list[tuple[str, str]]:
        """What the user should look at before relying on the file."""
        calibration = self.manifest.calibration
        found = []
        if calibration.accuracy_raw.value < LOW_ACCURACY:
            found.append("the model gets most calibration images wrong: do the class numbers fit its logits?")
        lost = calibration.accuracy_raw.value - calibration.accuracy_defended.value
        if self.manifest.policy is Policy.ALWAYS and lost > NOTABLE_LOSS:
            measure = calibration.measure
            found.append(f"perturbing every input costs {100 * lost:.1f} points of benign {measure}")
        if calibration.flag_rate.interval[0] > calibration.benign_budget:
            found.append(
                "more benign images are flagged than the budget allows: give more calibration images"
            )
        return [("look here", self.manifest.input.said(text)) for text in found]


def _wrapped(label: str, text: str) -> list[tuple[str, str]]:
    """A long text as rows of the summary, the label on the first."""
    lines = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return list(zip([label, *[""] * (len(lines) - 1)], lines, strict=True))
