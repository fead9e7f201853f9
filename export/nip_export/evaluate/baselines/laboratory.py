"""Where variants are made: passes once per variant, gates at any budget from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nip_export.bench import Bench, set_up
from nip_export.benign import Benign
from nip_export.calibrate import Calibration, calibrate
from nip_export.config import ExportConfig
from nip_export.evaluate.answers import Defence
from nip_export.evaluate.baselines.budgets import BUDGETS, BenignCost, budget_for_cost
from nip_export.evaluate.baselines.variants import (
    Variant,
    VariantKind,
    check_fits,
    random_signs,
    shuffled,
    variant_defence,
    without_response,
)
from nip_export.layers import choose_readouts
from nip_export.pipeline import inverse_bank, second_pass
from nip_export.profiles import InfluenceProfile
from nip_export.progress import Progress, silent
from nip_export.spec import Bank, DefenceSpec
from nip_export.verify import DefendedTwin
from nip_runtime.errors import ExportError
from nip_runtime.manifest import Policy
from nip_runtime.rates import Rate


@dataclass(frozen=True, eq=False)
class Ingredients:
    """All of a variant that does not depend on the benign budget.

    Attributes:
        policy: what happens to inputs.
        bank: what the second pass adds.
        screen_rate: share of rightly labelled benign images that may take it; None: all images do.
        perturbed: (N, C) logits of the calibration images in the second pass.
    """

    policy: Policy
    bank: Bank
    screen_rate: float | None
    perturbed: NDArray[np.float32]


class Laboratory:
    """Makes variants of one defence, each from benign images alone and by the code that exports it.

    Args:
        model: the trained classifier.
        profile: benign images for profiles, read-outs and perturbations.
        calibration: benign images for thresholds.
        config: settings of the export; its policy is that of every variant but ``always``.
        given: an exported defence: its read-outs are every variant's and its bank is that of the file. By
            default both are made as an export would.
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
        progress: Progress = silent,
        seed: int = 0,
    ) -> None:
        bench = set_up(model, profile, calibration, config, progress)
        if given is None:
            readouts, _ = choose_readouts(
                bench.early_grids,
                bench.profile_pass,
                bench.profile.labels,
                bench.calibration_pass,
                bench.calibration.labels,
                count=config.early_readouts,
            )
        else:
            check_fits(given, bench)
            readouts = given.readouts
        self._bench, self._given, self._readouts, self._seed = bench, given, readouts, seed
        self._profile: InfluenceProfile | None = None
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
        """The variants that make sense: a defence that perturbs every input has no screen to take away."""
        if self.policy is Policy.ALWAYS:
            return (VariantKind.FILE, VariantKind.RANDOM_PATTERN, VariantKind.SHUFFLED_PROFILES)
        return tuple(VariantKind)

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
                parts.perturbed,
                self._bench.calibration.labels,
                self._readouts,
                benign_budget=budget,
                screen_rate=parts.screen_rate,
                policy=parts.policy,
                seed=self._bench.config.seed,
            )
            if kind is VariantKind.EARLY_ALONE:
                correct = found.flag_rate.n
                gate = without_response(found.gate, correct)
                found = replace(found, gate=gate, pass2_rate=Rate(0, correct))
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
            readouts=self._readouts,
            gate=calibration.gate,
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
        """See :func:`nip_export.evaluate.baselines.budgets.budget_for_cost`.

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
        every = policy is Policy.ALWAYS or kind in (VariantKind.EVERY_ROW, VariantKind.EARLY_ALONE)
        screen_rate = None if every else self._bench.config.screen_rate
        if kind is VariantKind.EVERY_ROW:
            return replace(self._parts(VariantKind.FILE), screen_rate=screen_rate)
        bank = self._bank(kind, policy)
        if kind is VariantKind.EARLY_ALONE:  # nothing is added, so the second pass equals the first
            return Ingredients(policy, bank, screen_rate, self._bench.calibration_pass.logits)
        bench = replace(self._bench, config=replace(self._bench.config, policy=policy))
        return Ingredients(policy, bank, screen_rate, second_pass(bench, self._readouts, bank))

    def _bank(self, kind: VariantKind, policy: Policy) -> Bank:
        if kind is VariantKind.FILE and self._given is not None:
            return self._given.bank
        if kind is VariantKind.RANDOM_PATTERN:
            return random_signs(self._parts(VariantKind.FILE).bank, self._seed)
        if kind is VariantKind.EARLY_ALONE:
            bank = self._parts(VariantKind.FILE).bank
            return replace(bank, steps=np.zeros_like(bank.steps))
        profile = self._influence()
        if kind is VariantKind.SHUFFLED_PROFILES:
            profile = shuffled(profile, self._seed)
        bench = replace(self._bench, config=replace(self._bench.config, policy=policy))
        return inverse_bank(bench, profile)

    def _influence(self) -> InfluenceProfile:
        if self._profile is None:
            self._profile = self._bench.influence_profiles()[self._bench.plan.features]
        return self._profile
