"""What is held against the network's answer: an early layer's opinion, or the network's own doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nip_export.calibrate import Known, early_weight, fit_typicality, known_classes
from nip_export.defence import statistics
from nip_export.defence.spec import ReadOut
from nip_export.fit.bench import Bench
from nip_export.fit.layers import NAME_SOME, LayerReport, choose_readouts
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy


def check_early(bench: Bench) -> None:
    """Refuse what only early layers could answer, before anything costly.

    Raises:
        ExportError: the policy answers by what early layers believe, and there are none.
    """
    if not bench.early_grids and _always(bench):
        raise ExportError(
            f"the network has no layer before the features {bench.plan.features!r} that all its paths pass "
            "through, so there is no second opinion to hold against its answer, which policy always answers "
            f"by; use guarded or detect, or {NAME_SOME}"
        )


def second_opinion(bench: Bench) -> tuple[Known, tuple[LayerReport, ...]]:
    """What is held against the network's answer: early layers, or its own doubt where these know nothing.

    An early layer that knows nothing cannot disagree. What the logits say of other classes than the predicted
    one is how sure the network is, which single steps and minimum-norm attacks leave low.
    """
    if not bench.early_grids:
        return known_of(bench, ()), ()
    readouts, layers = choose_readouts(
        bench.early_grids,
        bench.profile_pass,
        bench.profile.labels,
        bench.calibration_pass,
        bench.calibration.labels,
        count=bench.config.early_readouts,
    )
    if not _always(bench) and not knows_anything(bench, readouts):
        return known_of(bench, ()), tuple(replace(layer, used=False) for layer in layers)
    return known_of(bench, readouts), layers


def knows_anything(bench: Bench, readouts: Sequence[ReadOut]) -> bool:
    """Whether read-outs are better than a guess on calibration images."""
    early = statistics.evidence(readouts, bench.calibration_pass.pooled)
    return early_weight(early, bench.calibration.labels) > 0


def _always(bench: Bench) -> bool:
    return Policy(bench.config.policy) is Policy.ALWAYS


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
