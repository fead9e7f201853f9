"""From answers to numbers: what a defence costs and buys, how sure that is, and whether the run was sound."""

from nip_evaluate.scoring.baseline import score_baseline
from nip_evaluate.scoring.checks import MoreSteps, Sanity, sanity_checks
from nip_evaluate.scoring.detector import risk_coverage, roc
from nip_evaluate.scoring.outcome import Outcome
from nip_evaluate.scoring.paired import cost, mcnemar
from nip_evaluate.scoring.scores import lead, mean_dsr, score_attack, score_benign
from nip_evaluate.scoring.trade_off import trade_off
from nip_evaluate.scoring.worst_case import worst_case, worst_cases

__all__ = [
    "MoreSteps",
    "Outcome",
    "Sanity",
    "cost",
    "lead",
    "mcnemar",
    "mean_dsr",
    "risk_coverage",
    "roc",
    "sanity_checks",
    "score_attack",
    "score_baseline",
    "score_benign",
    "trade_off",
    "worst_case",
    "worst_cases",
]
