"""What the defence is compared with: input transformations, other people's detectors, and itself with one
part exchanged. Thresholds of all of them come from benign data alone."""

from nip_evaluate.baselines.agreement import LABELS as LABEL_AGREEMENT
from nip_evaluate.baselines.agreement import label_agreement
from nip_evaluate.baselines.budgets import BUDGETS, BenignCost, budget_for_cost
from nip_evaluate.baselines.detectors import detector_fits
from nip_evaluate.baselines.held_out import Detector
from nip_evaluate.baselines.laboratory import Laboratory
from nip_evaluate.baselines.network import logits_of, network_labels
from nip_evaluate.baselines.odds import OddsTest, fit_odds, odds_name
from nip_evaluate.baselines.transforms import transform_defences
from nip_evaluate.baselines.variants import Variant, VariantKind, variant_defence, variant_view

__all__ = [
    "BUDGETS",
    "LABEL_AGREEMENT",
    "BenignCost",
    "Detector",
    "Laboratory",
    "OddsTest",
    "Variant",
    "VariantKind",
    "budget_for_cost",
    "detector_fits",
    "fit_odds",
    "label_agreement",
    "logits_of",
    "network_labels",
    "odds_name",
    "transform_defences",
    "variant_defence",
    "variant_view",
]
