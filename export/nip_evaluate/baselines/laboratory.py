"""Where variants are made: passes once per variant, gates at any budget from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nip_evaluate.baselines.budgets import BUDGETS, BenignCost, budget_for_cost
from nip_evaluate.baselines.passes import Passes
from nip_evaluate.baselines.variants import (
    BANKS,
    ONE_PASS,
    PARTS_OF_VIEWS,
    VIEWS,
    Variant,
    VariantKind,
    check_fits,
    random_signs,
    shuffled,
    variant_defence,
)
from nip_evaluate.terms.answers import Defence, GateView
from nip_evaluate.terms.threats import Images
from nip_export.calibrate import Calibration, calibrate
from nip_export.config import ExportConfig
from nip_export.defence.spec import Bank, DefenceSpec
from nip_export.defence.views import View
from nip_export.fit.bench import Bench, set_up
from nip_export.fit.benign import Benign
from nip_export.fit.opinion import known_of, second_opinion
from nip_export.fit.profiles import InfluenceProfile
from nip_export.network.grain import has_grain
from nip_export.pipeline import chosen_view, inverse_bank, second_pass
from nip_export.support.progress import Progress, silent
from nip_export.verify import DefendedTwin
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy
from nip_runtime.file.rates import Rate


@dataclass(frozen=True, eq=False)
class Ingredients:
    """All of a variant that does not depend on the benign budget.

    Attributes:
        policy: what happens to inputs.
        view: how the second pass looks at an image.
        bank: what the second pass adds.
        screen_rate: share of rightly labelled benign images that may take it; None: all images do.
        second: (N, C) logits of the calibration images in the second pass.
    """

    policy: Policy
    view: View
    bank: Bank
    screen_rate: float | None
    second: NDArray[np.float32]


class Laboratory:
    """Makes variants of one defence, each from benign images alone and by the code that exports it.

    Args:
        model: the trained classifier.
        profile: benign images for profiles, read-outs and perturbations.
        calibration: benign images for thresholds.
        config: settings of the export; its policy is that of every variant but ``always``.
        given: an exported defence: its read-outs are every variant's, its view and bank are those of the
            file. By default all are made as an export would.
        rho: the universal inverse perturbation of the network, if it was made before.
        progress: called with title and amount of work of every stage.
        seed: of the random pattern and of the shuffle.

    Raises:
        ExportError: the model, its taps or the settings do not fit, or `given` is of another model.
    """

    def __init__(
        self,
        model: nn.Module,
        profile: Benign,
        calibration: Benign,
        config: ExportConfig,
        *,
        given: DefenceSpec | None = None,
        rho: Bank | None = None,
        progress: Progress = silent,
        seed: int = 0,
    ) -> None:
        bench = set_up(model, profile, calibration, config, progress)
        if given is None:
            known, _ = second_opinion(bench)
        else:
            check_fits(given, bench)
            # As the file holds it: its features may have been fitted to a converted network's.
            known = replace(known_of(bench, given.readouts), typicality=given.typicality)
        self._bench, self._given, self._known, self._seed = bench, given, known, seed
        self._chosen: tuple[View, Bank] | None = None if given is None else (given.view, given.bank)
        self._profile: InfluenceProfile | None = None
        self._banks: dict[Policy, Bank] = {} if rho is None else {Policy(config.policy): rho}
        self._passes = Passes(bench)
        self._ingredients: dict[VariantKind, Ingredients] = {}
        self._calibrations: dict[tuple[VariantKind, float], Calibration] = {}

    @property
    def bench(self) -> Bench:
        """Network and passes that all variants share."""
        return self._bench

    @property
    def policy(self) -> Policy:
        """The policy of the defence that is varied."""
        return Policy(self._given.policy if self._given is not None else self._bench.config.policy)

    @property
    def kinds(self) -> tuple[VariantKind, ...]:
        """The variants that make sense: a defence that perturbs every input has no screen to take away, a
        view without a round trip has none to leave out, grey images have no grain, and without read-outs
        nothing says for which class to perturb."""
        if self.policy is Policy.ALWAYS:
            return (VariantKind.FILE, VariantKind.RANDOM_PATTERN, VariantKind.SHUFFLED_PROFILES)
        absent: set[VariantKind] = set()
        if self._chosen is None or all(step.quality is None for step in self._chosen[0]):
            absent.update(PARTS_OF_VIEWS)
        if not has_grain(self._bench.shape):
            absent.add(VariantKind.NO_GRAIN)
        if not self._known.readouts:
            absent.add(VariantKind.ALWAYS)
        return tuple(kind for kind in VariantKind if kind not in absent)

    def reseeded(self, seed: int) -> Laboratory:
        """The same laboratory drawing another random pattern and shuffle; what does not depend on them is
        shared."""
        other = object.__new__(Laboratory)
        other.__dict__.update(self.__dict__, _seed=seed)
        drawn = (VariantKind.RANDOM_PATTERN, VariantKind.SHUFFLED_PROFILES)
        other._ingredients = {k: v for k, v in self._ingredients.items() if k not in drawn}
        other._calibrations = {k: v for k, v in self._calibrations.items() if k[0] not in drawn}
        return other

    def calibration(self, kind: VariantKind, budget: float) -> Calibration:
        """The gate of a variant at a benign budget, and what cross-validation says of it.

        Raises:
            ExportError: too few calibration images to keep the budget.
        """
        key = (kind, budget)
        if key not in self._calibrations:
            parts = self._parts(kind)
            found = calibrate(
                self._bench.calibration_pass,
                parts.second,
                self._bench.calibration.labels,
                self._known,
                benign_budget=budget,
                screen_rate=parts.screen_rate,
                policy=parts.policy,
                seed=self._bench.config.seed,
                change=kind.change,
            )
            if kind in ONE_PASS:
                found = replace(found, pass2_rate=Rate(0, found.pass2_rate.n))
            self._calibrations[key] = found
        return self._calibrations[key]

    def variant(self, kind: VariantKind, budget: float) -> Variant:
        """A variant at a benign budget; ``always`` answers the same at all of them.

        Raises:
            ExportError: too few calibration images to keep the budget.
        """
        calibration, parts = self.calibration(kind, budget), self._parts(kind)
        spec = DefenceSpec(
            policy=parts.policy,
            classes=self._bench.classes,
            bounds=self._bench.bounds,
            readouts=self._known.readouts,
            typicality=self._known.typicality,
            gate=calibration.gate,
            view=parts.view,
            bank=parts.bank,
        )
        return Variant(
            kind=kind,
            name=str(kind),
            description=kind.description,
            passes=kind.passes,
            budget=budget,
            spec=spec,
            twin=DefendedTwin(self._bench.network, spec).to(self._bench.device),
            calibration=calibration,
        )

    def view(self, variant: Variant, images: Images) -> GateView:
        """What a gated variant answers to images (N, *shape) at every threshold, from passes made once."""
        return self._passes.view(variant.spec, images)

    def defence(self, variant: Variant) -> Defence:
        """A variant as a defence to compare."""
        return variant_defence(variant, batch_size=self._bench.config.batch_size)

    def cost(self, kind: VariantKind, budget: float) -> BenignCost:
        """What a variant's budget costs on benign images.

        Raises:
            ExportError: too few calibration images to keep the budget.
        """
        return BenignCost.of(budget, self.calibration(kind, budget))

    def budget_for_cost(self, kind: VariantKind, limit: float, grid: Sequence[float] = BUDGETS) -> float:
        """See :func:`nip_evaluate.baselines.budgets.budget_for_cost`.

        Raises:
            ExportError: no budget of the grid stays within the limit, or the variant has no gate.
        """
        if self._policy_of(kind) is Policy.ALWAYS:
            raise ExportError(
                f"expected a variant whose cost a gate limits, got {str(kind)!r}, which has none"
            )
        return budget_for_cost(lambda budget: self.cost(kind, budget), limit, grid)

    def _policy_of(self, kind: VariantKind) -> Policy:
        return Policy.ALWAYS if kind is VariantKind.ALWAYS else self.policy

    def _parts(self, kind: VariantKind) -> Ingredients:
        if kind not in self.kinds:
            raise ExportError(
                f"expected one of {', '.join(self.kinds)} under policy {self.policy}, got {str(kind)!r}"
            )
        if kind not in self._ingredients:
            self._ingredients[kind] = self._make(kind)
        return self._ingredients[kind]

    def _make(self, kind: VariantKind) -> Ingredients:
        policy = self._policy_of(kind)
        every = policy is Policy.ALWAYS or kind in (
            *ONE_PASS,
            VariantKind.EVERY_ROW,
            VariantKind.RESPONSE_ALONE,
        )
        screen_rate = None if every else self._bench.config.screen_rate
        if kind in ONE_PASS:  # nothing is shown anew, so the second pass equals the first
            bank = self._parts(VariantKind.FILE).bank
            nothing = replace(bank, steps=np.zeros_like(bank.steps))
            return Ingredients(policy, (), nothing, screen_rate, self._bench.calibration_pass.logits)
        if kind not in (VariantKind.FILE, *VIEWS, *PARTS_OF_VIEWS, *BANKS):
            return replace(self._parts(VariantKind.FILE), screen_rate=screen_rate)
        view, bank = self._shown(kind, policy)
        bench = replace(self._bench, config=replace(self._bench.config, policy=policy))
        return Ingredients(policy, view, bank, screen_rate, second_pass(bench, self._known, view, bank))

    def _shown(self, kind: VariantKind, policy: Policy) -> tuple[View, Bank]:
        """What a variant's second pass sees."""
        if policy is Policy.ALWAYS and kind is not VariantKind.FILE and kind not in BANKS:
            return (), self._perturbations(policy)
        if kind is VariantKind.FILE:
            if self._chosen is None:
                view, bank, _ = chosen_view(self._bench, self._known, self._perturbations(policy))
                self._chosen = view, bank
            return self._chosen
        view, bank = self._parts(VariantKind.FILE).view, self._perturbations(policy)
        if kind is VariantKind.ALWAYS:
            return (), bank
        if kind in VIEWS:
            nothing = replace(bank, steps=np.zeros_like(bank.steps))
            return VIEWS[kind], bank if kind is VariantKind.RHO_ALONE else nothing
        if kind in PARTS_OF_VIEWS:
            alone = kind is VariantKind.ROUND_TRIP
            return tuple(step for step in view if (step.quality is not None) == alone), self._parts(
                VariantKind.FILE
            ).bank
        match kind:
            case VariantKind.WITHOUT_RHO:
                bank = replace(bank, steps=np.zeros_like(bank.steps))
            case VariantKind.MINUS_RHO:
                bank = replace(bank, steps=(-bank.steps).astype(np.int8))
            case VariantKind.RANDOM_PATTERN:
                bank = random_signs(bank, self._seed)
            case VariantKind.SHUFFLED_PROFILES:
                bank = self._bank_of(shuffled(self._influence(), self._seed), policy)
        return view, bank

    def _perturbations(self, policy: Policy) -> Bank:
        """ρ of the network, the file's own if it adds one; made once for each policy."""
        if self._given is not None and self._given.bank.adds and self._given.policy is policy:
            return self._given.bank
        if policy not in self._banks:
            self._banks[policy] = self._bank_of(self._influence(), policy)
        return self._banks[policy]

    def _bank_of(self, profile: InfluenceProfile, policy: Policy) -> Bank:
        bench = replace(self._bench, config=replace(self._bench.config, policy=policy))
        return inverse_bank(bench, profile)

    def _influence(self) -> InfluenceProfile:
        if self._profile is None:
            self._profile = self._bench.influence_profiles()[self._bench.plan.features]
        return self._profile
