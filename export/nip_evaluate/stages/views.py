"""What the report draws beside rates: suspicion as a detector, influence before and after, a few images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nip_evaluate.baselines import Laboratory, logits_of
from nip_evaluate.given.target import Target
from nip_evaluate.report.page import Gallery, influence_groups, make_gallery, measure_latency
from nip_evaluate.scoring import Outcome, risk_coverage, roc
from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.results import InfluenceGroups, Latency, RiskCoverage, Roc
from nip_evaluate.terms.threats import Attacked, Images, Labels
from nip_export.network.run import tapped_network
from nip_export.support.progress import Progress
from nip_export.verify.oracle import look_again
from nip_runtime.file.manifest import Policy

SHOWN = ("PGD 8/255", "PGD 0.002")
"""The attacks whose images or recordings are shown, if one was run."""
LATENCY_BATCHES = (1, 32)


@dataclass(frozen=True, eq=False)
class Views:
    """What an evaluation has at hand when it looks closer.

    Attributes:
        target: the file.
        images: (N, *shape) benign test images.
        labels: (N,) their classes.
        benign: the file's answers to them.
        attacked: gray-box attacks on the first of them.
        outcomes: the file's, of the same attacks.
        progress: who waits.
    """

    target: Target
    images: Images
    labels: Labels
    benign: Answers
    attacked: Sequence[Attacked]
    outcomes: Sequence[Outcome]
    progress: Progress

    def detector(self) -> tuple[Roc, ...]:
        """The file's suspicion against the successes of every core attack."""
        curves = []
        for outcome in self.outcomes:
            scores, benign = outcome.answers.suspicion, self.benign.suspicion
            if outcome.case.core and scores is not None and benign is not None:
                curves.append(roc(outcome.case.name, benign, scores[outcome.successful]))
        return tuple(curve for curve in curves if curve is not None)

    def risk(self) -> tuple[RiskCoverage, ...]:
        """Wrong answers among the least suspicious rows: benign images, then every core attack."""
        if self.benign.suspicion is None:
            return ()
        curves = [risk_coverage("benign", self.benign.suspicion, self.benign.labels == self.labels)]
        for outcome in self.outcomes:
            if outcome.case.core and outcome.answers.suspicion is not None:
                curves.append(risk_coverage(outcome.case.name, outcome.answers.suspicion, outcome.right))
        return tuple(curves)

    def influence(self, laboratory: Laboratory) -> tuple[InfluenceGroups, ...]:
        """Where influence went under every core attack, on the images that it turned."""
        plan = laboratory.bench.plan
        tap = plan.tap(plan.features)
        profile = laboratory.bench.influence_profiles()[plan.features]
        manifest = self.target.manifest
        network = tapped_network(
            self.target.model,
            torch.from_numpy(self.images[:2].copy()),
            [plan.features],
            mean=manifest.input.mean,
            std=manifest.input.std,
        ).eval()
        pairs = [
            (made, outcome)
            for made, outcome in zip(self.attacked, self.outcomes, strict=True)
            if made.case.core and outcome.successful.any()
        ]
        stage = self.progress("influence", len(pairs))
        groups = []
        for made, outcome in pairs:
            rows = np.flatnonzero(outcome.successful)
            groups.append(
                influence_groups(
                    made.case.name,
                    network,
                    tap,
                    profile,
                    self.images[rows],
                    made.images[rows],
                    self.seen(made.images[rows]),
                    self.labels[rows],
                )
            )
            stage(1)
        return tuple(groups)

    def gallery(self) -> Gallery | None:
        """Images of one attack on their way through the defence."""
        names = [made.case.name for made in self.attacked]
        if not names:
            return None
        index = next((names.index(name) for name in SHOWN if name in names), 0)
        made, outcome = self.attacked[index], self.outcomes[index]
        count = len(outcome)
        forward, seen = logits_of(self.target.undefended), self.seen(made.images)
        return make_gallery(
            made.case.name,
            epsilon=made.case.epsilon,
            clean=self.images[:count],
            attacked=made.images,
            truth=self.labels[:count],
            benign=outcome.benign,
            answers=outcome.answers,
            rho=self.rho(made.images),
            seen=seen,
            seen_labels=forward(seen).argmax(1).astype(np.int64),
            class_names=self.target.classes(),
            eps_pixel=self.target.manifest.defence.eps_pixel,
        )

    def rho(self, images: Images) -> Images:
        """The inverse perturbation (n, *shape) added to each image in the second pass; 0 where none is."""
        rows = self._hypotheses(images)
        return self.target.spec.bank.dense()[np.zeros(len(images), np.int64) if rows is None else rows]

    def seen(self, images: Images) -> Images:
        """The images (n, *shape) as the second pass sees them."""
        spec = self.target.spec
        return look_again(images, spec.view, spec.bank, spec.bounds, hypothesis=self._hypotheses(images))

    def latency(self) -> tuple[Latency, ...]:
        """The file against its own backbone, cut out of it, on benign images."""
        stage = self.progress("latency", len(LATENCY_BATCHES))
        found = []
        with self.target.plain_file() as plain:
            for batch in LATENCY_BATCHES:
                size = min(batch, len(self.images))
                found.append(measure_latency(plain, self.target.path, self.images, batch=size))
                stage(1)
        return tuple(found)

    def _hypotheses(self, images: Images) -> NDArray[np.int64] | None:
        """Whose row of the bank each image meets (n,); None: there is but one."""
        if self.target.spec.policy is not Policy.ALWAYS:
            return None
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), 250):
                parts.append(
                    self.target.twin(torch.from_numpy(images[start : start + 250])).candidate.numpy()
                )
        return np.concatenate(parts).astype(np.int64)
