"""The demo's numbers in short: what a table in a README is written from."""

from __future__ import annotations

from typing import Any

from nip_evaluate.terms.results import AttackResult, BenignResult, Evaluation, WorstCase
from nip_evaluate.terms.threats import Threat
from nip_runtime.file.rates import Rate


def summarise(evaluation: Evaluation) -> dict[str, Any]:
    """The content of summary.json: plain shares in [0, 1], with Wilson 95 % intervals beside them.

    Threat models stand apart. `adaptive_worst` counts images that withstand every adaptive attack of an ε.
    """
    subject = evaluation.subject
    gray_box = [result for result in evaluation.attacks if result.threat is Threat.GRAY_BOX]
    adaptive = [result for result in evaluation.attacks if result.threat is Threat.ADAPTIVE]
    worst = [
        case
        for case in evaluation.worst_case
        if case.threats == (Threat.ADAPTIVE,) and case.epsilon is not None
    ]
    return {
        "benign": _benign(evaluation.benign),
        "attacks": [_attack(result) for result in gray_box],
        "adaptive_worst": [_worst(case) for case in worst],
        "adaptive": [_adaptive(result) for result in adaptive],
        "latency_ratio": evaluation.latency[0].ratio,
        "latency": [
            {"batch": e.batch, "ratio": e.ratio, "plain_ms": e.plain_ms, "defended_ms": e.defended_ms}
            for e in evaluation.latency
        ],
        "threat_models": {
            "attacks": "T1: gray-box, crafted on the undefended network",
            "adaptive": "T4: crafted on the whole defence",
        },
        "policy": subject.policy,
        "seed": subject.seed,
    }


def _benign(benign: BenignResult) -> dict[str, Any]:
    return {
        **_shares(undefended=benign.undefended, defended=benign.defended),
        "n": benign.defended.n,
        "flagged": _value(benign.flagged),
        "false_corrections": _value(benign.false_corrections),
    }


def _attack(result: AttackResult) -> dict[str, Any]:
    rates = _shares(
        undefended=result.undefended, defended=result.defended, dsr=result.dsr, detected=result.detected
    )
    return {
        "name": result.name,
        "settings": result.settings,
        **rates,
        "n": result.defended.n,
        "successes": result.successes,
    }


def _adaptive(result: AttackResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "settings": result.settings,
        **_shares(defended=result.defended, detected=result.detected),
        "n": result.defended.n,
        "successes": result.successes,
    }


def _worst(case: WorstCase) -> dict[str, Any]:
    return {
        "epsilon": case.epsilon,
        "attacks": case.attacks,
        **_shares(defended=case.defended),
        "n": case.defended.n,
    }


def _shares(**rates: Rate | None) -> dict[str, Any]:
    """Each share under its name, and all their intervals."""
    intervals = {name: None if rate is None else rate.interval for name, rate in rates.items()}
    return {**{name: _value(rate) for name, rate in rates.items()}, "intervals": intervals}


def _value(rate: Rate | None) -> float | None:
    return None if rate is None else rate.value
