"""An evaluation from end to end: attack, answer, compare, count, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nip_evaluate.adaptive import parity, parity_claim
from nip_evaluate.baselines import Laboratory, logits_of, network_labels
from nip_evaluate.baselines.memory import Memory
from nip_evaluate.given.material import Material, check_labels, open_laboratory, refuse_known_images
from nip_evaluate.given.paths import EvaluationPaths
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.store import AttackStore
from nip_evaluate.given.subject import describe_subject
from nip_evaluate.given.target import Target, open_target
from nip_evaluate.report.numbers import dump
from nip_evaluate.report.page import render_page
from nip_evaluate.scoring import (
    Outcome,
    mean_dsr,
    sanity_checks,
    score_attack,
    score_benign,
    worst_cases,
)
from nip_evaluate.stages.attackers import Attackers
from nip_evaluate.stages.compare import Compared, Comparison
from nip_evaluate.stages.contenders import Contenders
from nip_evaluate.stages.craft import Crafter
from nip_evaluate.stages.more_steps import compare_steps
from nip_evaluate.stages.views import Views
from nip_evaluate.terms.answers import Answers
from nip_evaluate.terms.results import Check, Evaluation, InfluenceGroups, NotMeasured
from nip_evaluate.terms.threats import Images, Labels, Threat
from nip_export.support.progress import Progress, silent
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Policy
from nip_runtime.session import DefendedSession
from nip_runtime.support.writing import write_whole

PARITY_IMAGES = 200


def run_evaluation(
    path: str | Path,
    material: Material,
    out: Path,
    *,
    plan: EvaluationPlan | None = None,
    laboratory: Laboratory | None = None,
    store: AttackStore | None = None,
    memory: Memory | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Attack a defended file and write report.json and report.html into `out`.

    Finished attacks are kept; a run that was stopped goes on after the last of them.

    Args:
        path: the file.
        material: the network and images that belong to it.
        out: folder to write to; made if absent.
        plan: what to do; by default everything.
        laboratory: makes the baselines that are calibrated; by default one is opened on the images in
            `material` that the file was made from.
        store: where finished attacks are; by default in `out`.
        memory: what baselines answered in an evaluation of another file of the same network.
        progress: called with title and amount of work of every stage.

    Raises:
        InputError: network, images and file do not belong together, or `out` is a file.
        ArtifactError: no defended file.
        ExportError: the network cannot be tapped, or an attack broke its own rules.
    """
    plan = plan if plan is not None else EvaluationPlan()
    paths = EvaluationPaths(out)
    if out.exists() and not out.is_dir():
        raise InputError.mismatch(
            expected="a folder to write to", got=f"the file {out}", fix="name another with --out"
        )
    with DefendedSession(path, device="cpu") as session:
        test = material.test_inputs(session.manifest.input.bounds)
        target = open_target(path, material.model, test.inputs, output=material.output)
        check_labels(test.labels, target)
        refuse_known_images(target, material)
        if laboratory is None:
            laboratory = open_laboratory(target, material, progress)
        work = Work(
            target=target,
            material=material,
            images=test.inputs,
            labels=test.labels,
            plan=plan,
            session=session,
            laboratory=laboratory,
            store=store if store is not None else AttackStore(paths.attacks),
            memory=memory if memory is not None else Memory(),
            progress=progress,
        )
        evaluation, views = work.evaluate()
        page = render_page(evaluation, views.gallery())
    out.mkdir(parents=True, exist_ok=True)
    write_whole(paths.numbers, dump(evaluation).encode())
    write_whole(paths.page, page.encode())
    return evaluation


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """Everything one evaluation has at hand; see :func:`run_evaluation`."""

    target: Target
    material: Material
    images: Images
    labels: Labels
    plan: EvaluationPlan
    session: DefendedSession
    laboratory: Laboratory | None
    store: AttackStore
    memory: Memory
    progress: Progress

    def evaluate(self) -> tuple[Evaluation, Views]:
        """Attack and count."""
        attackers = Attackers(
            target=self.target,
            surrogate=self.material.surrogate,
            session=self.session,
            plan=self.plan,
            crafter=self._crafter(),
        )
        attacked, left_out = attackers.attack()
        stage = self.progress("running the file", 1 + len(attacked))
        benign = self._answer(self.images)
        stage(1)
        outcomes = []
        for made in attacked:
            answers = self._answer(made.images)
            outcomes.append(Outcome.of(made.case, truth=self.labels, benign=benign, answers=answers))
            stage(1)
        labels_of = network_labels(logits_of(self.target.undefended))
        low, high = self.target.manifest.input.bounds
        signed = low == -high
        results = tuple(
            score_attack(
                outcome,
                attacked=made,
                clean=self.images,
                fooled_torch=labels_of(made.images) != self.labels[: len(outcome)],
                signed=signed,
            )
            for made, outcome in zip(attacked, outcomes, strict=True)
        )
        gray = [
            pair for pair in zip(attacked, outcomes, strict=True) if pair[0].case.threat is Threat.GRAY_BOX
        ]
        views = Views(
            self.target,
            self.images,
            self.labels,
            benign,
            [made for made, _ in gray],
            [outcome for _, outcome in gray],
            self.progress,
        )
        compared = self._compare(views)
        more_steps = compare_steps(attackers.crafter, self.target.undefended, attacked, quick=self.plan.quick)
        sanity = sanity_checks(
            outcomes,
            results,
            classes=self.target.manifest.output.classes,
            more_steps=more_steps,
            exact=self.target.exact,
            given=(self._parity(),),
        )
        influence: tuple[InfluenceGroups, ...] = ()
        if self.laboratory is None:
            why = "the images that the file was made from were not given"
            left_out.append(NotMeasured("shift of influence", why))
        else:
            influence = views.influence(self.laboratory)
        second = None
        if self.target.spec.policy is not Policy.ALWAYS:
            second = self.target.gate_view(self.images).flaggable
        evaluation = Evaluation(
            subject=describe_subject(self.target, self.plan, self.images, self.labels),
            benign=score_benign(benign, self.labels, second_pass=second),
            worst_case=worst_cases(outcomes),
            mean_dsr=mean_dsr(views.outcomes),
            attacks=results,
            baselines=compared.baselines,
            trade_offs=compared.trade_offs,
            detector=views.detector(),
            risk_coverage=views.risk(),
            influence=influence,
            latency=views.latency(),
            checks=sanity.checks,
            not_measured=(*left_out, *compared.not_measured, *sanity.not_measured),
        )
        return evaluation, views

    def _crafter(self) -> Crafter:
        count = len(self.images) if self.plan.images is None else min(self.plan.images, len(self.images))
        return Crafter(
            self.store,
            self.images[:count],
            self.labels[:count],
            self.plan.seed,
            self.progress,
            self.target.manifest.input.bounds,
        )

    def _answer(self, images: Images) -> Answers:
        prediction = self.session.predict(images)
        always = self.target.spec.policy is Policy.ALWAYS
        return Answers(
            prediction.labels,
            prediction.raw_labels,
            None if always else prediction.flagged,
            prediction.suspicion,
        )

    def _compare(self, views: Views) -> Compared:
        counted = [
            (made, outcome)
            for made, outcome in zip(views.attacked, views.outcomes, strict=True)
            if made.case.core or made.case.minimum_norm
        ]
        comparison = Comparison(
            Contenders(self.target, self.laboratory, self.memory, self.plan.left_out(), self.progress),
            self.images,
            self.labels,
            [made for made, _ in counted],
            [outcome for _, outcome in counted],
            self.progress,
        )
        if not self.plan.baselines:
            return comparison.file_alone()
        return comparison.run(self.target.manifest.calibration.benign_budget)

    def _parity(self) -> Check:
        found = parity(self.target.twin, self.session, self.images[:PARITY_IMAGES])
        precision = self.target.manifest.precision
        # No twin computes what a converted file does; how far they differ is told, and cannot fail.
        return Check(parity_claim(precision), found.holds or not self.target.exact, str(found))
