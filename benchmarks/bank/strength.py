"""What storing the inverse perturbations coarsely costs in strength.

    python -m benchmarks.bank.strength --work WORK --networks vgg-1 resnet-1

WORK is the folder of `benchmarks.robustness`: trained weights, and attacks that are not made twice. For every
network and policy the perturbations are found *on the grid they are stored on*, as an export does it, gates
are calibrated anew at the same benign budget, and every form answers the same images: 4000 benign ones, and
the core attacks and DeepFool on the first 1000 (C&W 500). Forms are compared with perturbations that nothing
was rounded off. No setting is chosen by what an attack does.
Writes benchmarks/results/bank/strength-NETWORK-POLICY.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.bank.forms import FORMS, READOUT_FORM, Form, find_perturbations, make_bank, make_variant
from benchmarks.bank.results import RESULTS, AttackLine, FormResult, Number, Strength, write
from benchmarks.robustness.networks import kind_of
from benchmarks.robustness.run import ATTACKED, CAPS, Folders, commit, material_of, prepare
from nip_evaluate.attacks import catalogue, select
from nip_evaluate.baselines import Variant, variant_defence
from nip_evaluate.given.plan import EvaluationPlan
from nip_evaluate.given.store import AttackStore
from nip_evaluate.given.subject import machine
from nip_evaluate.given.target import Undefended
from nip_evaluate.scoring import Outcome, cost, lead, mean_dsr, score_benign
from nip_evaluate.stages.craft import Crafter
from nip_evaluate.terms.answers import Answers, Defence
from nip_evaluate.terms.threats import Attacked, Images, Labels
from nip_export.demo.build_assets import DATA_DIR
from nip_export.fit.benign import at_the_door
from nip_export.network.run import tapped_network
from nip_export.pipeline import Prepared
from nip_export.support.progress import Progress, progress_bars
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy
from nip_runtime.file.rates import Rate

POLICIES = (Policy.GUARDED, Policy.ALWAYS)
PLAN = EvaluationPlan(attacks=("core", "DeepFool"), caps=CAPS)


@dataclass(frozen=True, eq=False)
class Subject:
    """One network with everything that all forms face.

    Attributes:
        name: of the network.
        prepared: its defence, but for thresholds.
        images: (N, *shape) benign test images.
        labels: (N,) their classes.
        attacked: attacks on the first of them, crafted on the undefended network.
    """

    name: str
    prepared: Prepared
    images: Images
    labels: Labels
    attacked: tuple[Attacked, ...]


@dataclass(frozen=True, eq=False)
class Answered:
    """A form's answers."""

    variant: Variant
    benign: Answers
    outcomes: tuple[Outcome, ...]


def open_subject(folders: Folders, name: str, progress: Progress) -> Subject:
    """Profiles and read-outs of a network, and the attacks on it."""
    material = material_of(folders, name)
    prepared = prepare(material, kind_of(name), progress)
    config, test = prepared.bench.config, at_the_door(material.test)
    example = torch.from_numpy(test.inputs[:2].copy())
    # As an evaluation opens it, so that attacks are found again.
    frozen = material.model.eval().requires_grad_(False)
    network = Undefended(tapped_network(frozen, example, [], mean=config.mean, std=config.std).eval()).eval()
    crafter = Crafter(
        AttackStore(folders.work / "attacks"),
        test.inputs[:ATTACKED],
        test.labels[:ATTACKED],
        PLAN.seed,
        progress,
    )
    cases = [PLAN.capped(case) for case in select(PLAN.attacks, catalogue())]
    return Subject(name, prepared, test.inputs, test.labels, crafter.craft(cases, network))


def answer(subject: Subject, variant: Variant) -> Answered:
    """Let a form answer all images."""
    defence: Defence = variant_defence(variant, batch_size=subject.prepared.bench.config.batch_size)
    benign = defence.answer(subject.images)
    outcomes = tuple(
        Outcome.of(made.case, truth=subject.labels, benign=benign, answers=defence.answer(made.images))
        for made in subject.attacked
    )
    return Answered(variant, benign, outcomes)


def attack_line(outcome: Outcome, reference: Outcome) -> AttackLine:
    """DSR of one attack, and its paired difference from the reference's."""
    # Counted alone, an attack outside the core set counts as if it were one of it.
    ours, theirs = (replace(o, case=replace(o.case, core=True)) for o in (outcome, reference))
    dsr, difference = mean_dsr([ours]), lead([ours], [theirs])
    if dsr is None or difference is None:
        raise ExportError(f"expected {outcome.case.name} to succeed on the undefended network, it never did")
    return AttackLine(
        name=outcome.case.name,
        successes=int(outcome.successful.sum()),
        dsr=Number.of(dsr),
        against_reference=Number.of(difference),
    )


def share(rate: Rate | None) -> Number | None:
    """A share with Wilson's interval."""
    return None if rate is None else Number(rate.value, *rate.interval, rate.n)


def score(subject: Subject, form: Form, ours: Answered, reference: Answered) -> FormResult:
    """A form's numbers, and their paired differences from the reference's."""
    benign = score_benign(ours.benign, subject.labels, second_pass=None)
    mean, difference = mean_dsr(ours.outcomes), lead(ours.outcomes, reference.outcomes)
    if mean is None or difference is None:
        raise ExportError("expected core attacks that succeed on the undefended network, got none")
    right = [answered.benign.labels == subject.labels for answered in (reference, ours)]
    return FormResult(
        name=form.name,
        bank_bytes=ours.variant.spec.bank.size_bytes,
        readout_bytes=sum(readout.size_bytes for readout in ours.variant.spec.readouts),
        cost=Number.of(benign.cost),
        cost_against_reference=Number.of(cost(right[0], right[1])),
        flagged=share(benign.flagged_correct),
        mean_dsr=Number.of(mean),
        against_reference=Number.of(difference),
        attacks=tuple(
            attack_line(outcome, other)
            for outcome, other in zip(ours.outcomes, reference.outcomes, strict=True)
        ),
    )


def measure(
    subject: Subject, policy: Policy, progress: Progress, forms: Sequence[Form] = (*FORMS, READOUT_FORM)
) -> Strength:
    """All forms of one network under one policy; the first is the reference."""
    prepared = subject.prepared
    bench = replace(prepared.bench, config=replace(prepared.bench.config, policy=policy))
    stage = progress(f"{subject.name}, {policy}: forms", len(forms))
    reference: Answered | None = None
    found: dict[tuple[int, bool], Tensor] = {}
    results = []
    for form in forms:
        key = (form.factor, form.other_seed)
        if key not in found:
            found[key] = find_perturbations(bench, prepared, form)
        bank = make_bank(bench, form, found[key])
        answered = answer(subject, make_variant(prepared, policy, form, bank))
        reference = answered if reference is None else reference
        results.append(score(subject, form, answered, reference))
        stage(1)
    return Strength(
        network=subject.name,
        policy=str(policy),
        benign_budget=bench.config.benign_budget,
        commit=commit(),
        machine=machine(),
        forms=tuple(results),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of weights and attacks")
    parser.add_argument("--networks", nargs="+", default=["vgg-1", "resnet-1"], metavar="KIND-SEED")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="folder of the four idx .gz files")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folders = Folders(options.work, options.data, None)
    for name in options.networks:
        with progress_bars() as progress:
            subject = open_subject(folders, name, progress)
            for policy in POLICIES:
                path = RESULTS / f"strength-{name}-{policy}.json"
                write(path, measure(subject, policy, progress))
                print(path, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
