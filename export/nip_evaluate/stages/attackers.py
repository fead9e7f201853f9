"""Everybody who attacks, in order of what they know."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from nip_evaluate.adaptive import adaptive_cases
from nip_evaluate.attacks import catalogue, select, sound_catalogue, transfer_cases
from nip_evaluate.attacks.sound import ADAPTIVE_EPSILONS
from nip_evaluate.given.plan import ADAPTIVE_EPS, EvaluationPlan
from nip_evaluate.given.target import Target, Undefended
from nip_evaluate.query import DeployedModule, query_cases, sound_queries
from nip_evaluate.stages.craft import Crafter
from nip_evaluate.terms.results import NotMeasured
from nip_evaluate.terms.threats import AttackCase, Attacked, Threat
from nip_export.network import as_classifier
from nip_export.network.run import tapped_network
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec
from nip_runtime.session import DefendedSession


def planned_cases(
    plan: EvaluationPlan, spec: InputSpec | None = None
) -> Mapping[Threat, tuple[AttackCase, ...]]:
    """The attacks of each threat model of the plan, on as many images as it allows.

    Args:
        plan: which.
        spec: the file's input; None: images in [0, 1]. Recordings have attacks of their own. ε of the cases
            is in its units: within other bounds than [0, 1] an attack changes the same share of the range.

    Raises:
        InputError: the plan names an attack that does not exist, or an ε outside (0, 1].
    """
    low, high = spec.bounds if spec is not None else (0.0, 1.0)
    hears = spec is not None and spec.sound is not None
    gray = select(plan.attacks, (sound_catalogue if hears else catalogue)(eps=plan.eps))
    usual = plan.adaptive_eps == ADAPTIVE_EPS
    adaptive_eps = ADAPTIVE_EPSILONS if hears and usual else plan.adaptive_eps
    cases = {
        Threat.GRAY_BOX: gray,
        Threat.TRANSFER: transfer_cases(gray),
        Threat.QUERY: (sound_queries if hears else query_cases)(quick=plan.quick),
    }
    cases = {threat: tuple(_in_units(case, high - low) for case in found) for threat, found in cases.items()}
    cases[Threat.ADAPTIVE] = adaptive_cases(adaptive_eps, quick=plan.quick, images=plan.adaptive_images)
    return {threat: tuple(map(plan.capped, cases[threat])) for threat in Threat if threat in plan.threats}


def _in_units(case: AttackCase, span: float) -> AttackCase:
    """A case whose craft works on [0, 1], for inputs of another range."""
    return case if case.epsilon is None or span == 1 else replace(case, epsilon=case.epsilon * span)


@dataclass(frozen=True, kw_only=True, eq=False)
class Attackers:
    """Attacks on one file according to a plan.

    Attributes:
        target: the file and its network.
        surrogate: another network for T2, or None.
        session: the file, as T3 asks it.
        plan: which threats and attacks.
        crafter: runs them on the images.
    """

    target: Target
    surrogate: nn.Module | None
    session: DefendedSession
    plan: EvaluationPlan
    crafter: Crafter

    def attack(self) -> tuple[list[Attacked], list[NotMeasured]]:
        """All attacks of the plan, and what was left out.

        Raises:
            InputError: an attack that does not exist, or a surrogate for other classes.
            ExportError: an attack broke its own rules.
        """
        plan, target = self.plan, self.target
        attacked: list[Attacked] = []
        left_out = [
            NotMeasured(f"{threat} {threat.name.lower().replace('_', '-')}", "left out of this run")
            for threat in Threat
            if threat not in plan.threats
        ]
        planned = planned_cases(plan, target.manifest.input)
        # Looked at before hours of other attacks: a network that does not fit is refused at once.
        surrogate = self._undefended_surrogate() if Threat.TRANSFER in plan.threats else None
        if Threat.GRAY_BOX in plan.threats:
            attacked += self._craft(planned[Threat.GRAY_BOX], target.undefended, left_out)
        if Threat.TRANSFER in plan.threats:
            if surrogate is None:
                left_out.append(NotMeasured("T2 transfer", "no surrogate network was given"))
            elif not planned[Threat.TRANSFER]:
                left_out.append(NotMeasured("T2 transfer", "none of the chosen attacks is made to transfer"))
            else:
                attacked += self._craft(planned[Threat.TRANSFER], surrogate, left_out)
        file_digest = target.manifest.digests.graph
        if Threat.QUERY in plan.threats:
            victim, cases = DeployedModule(self.session), planned[Threat.QUERY]
            attacked += self._craft(cases, victim, left_out, victim_digest=file_digest)
        if Threat.ADAPTIVE in plan.threats:
            cases = planned[Threat.ADAPTIVE]
            attacked += self._craft(cases, target.twin, left_out, victim_digest=file_digest)
        return attacked, left_out

    def _craft(
        self,
        cases: Sequence[AttackCase],
        victim: nn.Module,
        left_out: list[NotMeasured],
        *,
        victim_digest: str | None = None,
    ) -> list[Attacked]:
        """Run the cases; one that does not take inputs of this kind is named among what was left out."""
        attacked: list[Attacked] = []
        for case in cases:
            try:
                attacked += self.crafter.craft([case], victim, victim_digest=victim_digest)
            except InputError as error:
                left_out.append(NotMeasured(case.name, str(error)))
        return attacked

    def _undefended_surrogate(self) -> Undefended | None:
        if self.surrogate is None:
            return None
        spec = self.target.manifest.input
        example = torch.from_numpy(self.crafter.images[:2].copy())
        surrogate = copy.deepcopy(self.surrogate).cpu().eval()
        probe = tapped_network(surrogate, example, [], mean=spec.mean, std=spec.std)
        surrogate = as_classifier(surrogate, probe.normalise(example)).model
        network = tapped_network(surrogate, example, [], mean=spec.mean, std=spec.std).eval()
        with torch.no_grad():
            classes = network(example)[0].shape[1]
        if classes != self.target.manifest.output.classes:
            raise InputError.mismatch(
                expected=f"a surrogate for {self.target.manifest.output.classes} classes",
                got=f"{classes} logits",
                fix="pass one that was trained for the same classes",
            )
        return Undefended(network).eval()
