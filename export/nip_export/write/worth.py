"""Whether a calibrated defence is worth a file: the file says so, and one that defends nothing is refused."""

from __future__ import annotations

from nip_export.calibrate import Calibration
from nip_export.calibrate.verdict import Verdict, judge_gate
from nip_export.config import ExportConfig
from nip_export.defence.decision import FirstLook
from nip_export.fit.bench import Bench
from nip_export.fit.prepared import Prepared
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy

MOST_LOSS = 0.1
"""Benign accuracy that policy ``always`` may cost, unless it is forced."""


def verdict_of(prepared: Prepared, bench: Bench, calibration: Calibration) -> Verdict:
    """What the calibrated gate can and cannot tell."""
    config, known = bench.config, prepared.known
    return judge_gate(
        calibration.gate,
        FirstLook.of(bench.calibration_pass, known.readouts, known.typicality),
        prepared.second,
        bench.calibration.labels,
        known,
        bench.profile.labels,
        benign_budget=config.benign_budget,
        screen_rate=None if Policy(config.policy) is Policy.ALWAYS else config.screen_rate,
        seed=config.seed,
        class_names=config.class_names,
        is_labelled=bench.calibration.is_labelled,
    )


def check_worth(
    config: ExportConfig, calibration: Calibration, verdict: Verdict, *, is_labelled: bool = True
) -> None:
    """Refuse a file that would defend nothing, or that ``always`` would ruin, unless that is asked for.

    Raises:
        ExportError: the gate of a guarded file can hardly ever fire, or ``always`` costs over 10 points.
    """
    if config.force:
        return
    policy = Policy(config.policy)
    if policy is Policy.GUARDED and verdict.dead is not None:
        advice = "; ".join(verdict.info.advice)
        raise ExportError(
            f"expected a gate that can flag something, got one that would defend nothing: {verdict.dead}; "
            f"{advice + '; or ' if advice else ''}export with policy detect, or with force as it is"
        )
    before, after = calibration.accuracy_raw, calibration.accuracy_defended
    if policy is Policy.ALWAYS and before.value - after.value > MOST_LOSS:
        measure = "accuracy" if is_labelled else "agreement with the network"
        raise ExportError(
            f"policy always: expected it to cost at most {100 * MOST_LOSS:.0f} points of benign "
            f"{measure}, got {before} before and {after} after: every input is answered under a perturbation "
            "that the network does not bear; use policy guarded, a smaller eps, or force"
        )
