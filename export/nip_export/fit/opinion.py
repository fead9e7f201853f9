"""What is held against the network's answer: an early layer's opinion, or the network's own doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nip_export.calibrate import Known, early_weight, fit_typicality, known_classes
from nip_export.defence import statistics
from nip_export.defence.spec import ReadOut
from nip_export.fit.bench import Bench
from nip_export.fit.layers import NAME_SOME, LayerReport, choose_readouts, own_readout
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy


def second_opinion(bench: Bench) -> tuple[Known, tuple[LayerReport, ...]]:
    """What is held against the network's answer: early layers, or how sure it is where these know nothing."""
    if not bench.early_grids:
        return known_of(bench, [alone(bench)]), ()
    readouts, layers = choose_readouts(
        bench.early_grids,
        bench.profile_pass,
        bench.profile.labels,
        bench.calibration_pass,
        bench.calibration.labels,
        count=bench.config.early_readouts,
    )
    known = known_of(bench, readouts)
    if Policy(bench.config.policy) is not Policy.ALWAYS and not knows_anything(bench, readouts):
        own = own_readout(bench.network, bench.plan, bench.calibration_pass)
        if own is not None:
            known = replace(known, readouts=(own,))
            layers = tuple(replace(layer, used=False) for layer in layers)
    return known, layers


def alone(bench: Bench) -> ReadOut:
    """The network's last layer as the only opinion, where none lies before the features.

    Raises:
        ExportError: the policy needs another opinion, or that layer is not one linear layer.
    """
    none = (
        f"the network has no layer before the features {bench.plan.features!r} that all its paths pass "
        "through, so there is no second opinion to hold against its answer"
    )
    if Policy(bench.config.policy) is Policy.ALWAYS:
        raise ExportError(f"{none}, which policy always answers by; use guarded or detect, or {NAME_SOME}")
    own = own_readout(bench.network, bench.plan, bench.calibration_pass)
    if own is None:
        raise ExportError(
            f"{none}, and its last layer {bench.plan.classifier!r} is no linear one whose doubt could stand "
            f"in; {NAME_SOME}"
        )
    return own


def knows_anything(bench: Bench, readouts: Sequence[ReadOut]) -> bool:
    """Whether read-outs are better than a guess on calibration images."""
    early = statistics.evidence(readouts, bench.calibration_pass.pooled)
    return early_weight(early, bench.calibration.labels) > 0


def known_of(bench: Bench, readouts: Sequence[ReadOut]) -> Known:
    """What the profile images tell: read-outs, and what features of which classes look like."""
    tap = bench.plan.tap(bench.plan.features)
    labels = bench.profile.labels
    present = known_classes(labels, bench.classes)
    rows, features = present[labels], bench.profile_pass.pooled[tap.name]
    return Known(
        readouts=tuple(readouts),
        typicality=fit_typicality(features[rows], labels[rows], tap=tap.name, kind=tap.kind),
        present=present,
    )
