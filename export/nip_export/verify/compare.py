"""The finished graph in onnxruntime against the oracle in numpy and, for fp32, the twin in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from nip_export.capture import evaluation_mode
from nip_export.spec import DefenceSpec
from nip_export.verify.oracle import Expected, Forward, oracle
from nip_export.verify.twin import DefendedTwin
from nip_runtime.errors import ExportError
from nip_runtime.manifest import Policy
from nip_runtime.names import CANDIDATE, FLAGGED, RAW_LOGITS, SUSPICION

BATCHES = (1, 3, 17)
TOLERANCE = 1e-4
"""Largest error of a logit, as a share of the largest logit's size; see `gain` in :func:`compare`."""
SUSPICION_TOLERANCE = 1e-2
"""Suspicion is a rank among benign images: steep where many of them lie."""
KNIFE_EDGE = 1e-3
"""Rows whose statistics lie this close to a cut may fall either way in float32; they are not compared."""


@dataclass(frozen=True)
class Tolerance:
    """What is taken for rounding: `logits` as `TOLERANCE`, `suspicion` and `knife_edge` likewise."""

    logits: float = TOLERANCE
    suspicion: float = SUSPICION_TOLERANCE
    knife_edge: float = KNIFE_EDGE


EXACT = Tolerance()
HALF = Tolerance(logits=2e-3, suspicion=5e-2, knife_edge=2e-2)
"""For fp16, four roundings to float16: the CPU provider leaves some of them out, which ones depends on what
else is in the graph, so the file and its backbone alone do not agree to the last bits of float32."""


@dataclass(frozen=True)
class Comparison:
    """What the comparison found.

    Attributes:
        images: inputs compared.
        batches: batch sizes at which all were run.
        max_abs_logit_error: largest difference of any defended or raw logit from a reference.
        of_allowed: largest share that a difference takes of what is allowed in its row, in [0, 1].
        argmax_agreement: share of answers with the same largest logit, over all references.
        knife_edge: inputs left out because they lie on a cut.
        flagged: inputs compared that the gate flags.
    """

    images: int
    batches: tuple[int, ...]
    max_abs_logit_error: float
    of_allowed: float
    argmax_agreement: float
    knife_edge: int
    flagged: int


@dataclass(frozen=True, eq=False)
class Answers:
    """Outputs of one implementation for N inputs."""

    who: str
    logits: NDArray[np.floating]
    raw_logits: NDArray[np.floating]
    suspicion: NDArray[np.floating]
    flagged: NDArray[np.bool_]
    candidate: NDArray[np.int64]


def file_answers(
    session: onnxruntime.InferenceSession, output_name: str, inputs: NDArray[np.float32], batch: int
) -> Answers:
    """Run the graph over all inputs in batches of one size.

    Raises:
        ExportError: onnxruntime cannot run it.
    """
    names = [output_name, RAW_LOGITS, SUSPICION, FLAGGED, CANDIDATE]
    feed = session.get_inputs()[0].name
    try:
        parts = [
            session.run(names, {feed: inputs[first : first + batch]})
            for first in range(0, len(inputs), batch)
        ]
    except Exception as error:  # onnxruntime's have no base class of their own
        raise ExportError(
            f"onnxruntime fails on the finished file at batch {batch}: {error}. No file was written; please "
            "report the model, with its precision"
        ) from error
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Answers(f"the file at batch {batch}", *columns)


def twin_answers(twin: DefendedTwin, inputs: NDArray[np.float32], device: torch.device) -> Answers:
    """Run the twin over all inputs."""
    with evaluation_mode(twin), torch.no_grad():
        outputs = twin.to(device)(torch.from_numpy(inputs).to(device))
    return Answers("the torch twin", *(value.cpu().numpy() for value in outputs[:5]))


def oracle_answers(expected: Expected) -> Answers:
    """The oracle's answers in the same form."""
    reading, decision = expected.reading, expected.decision
    return Answers(
        "the numpy oracle",
        decision.logits,
        expected.raw,
        reading.suspicion,
        reading.flagged,
        decision.candidate,
    )


def on_the_edge(spec: DefenceSpec, expected: Expected, tolerance: Tolerance = EXACT) -> NDArray[np.bool_]:
    """Rows that rounding may push over a cut: screen, flag, or a tie between classes."""
    gate, reading = spec.gate, expected.reading
    edge = np.abs(reading.score - gate.flag_threshold) < tolerance.knife_edge
    if gate.screen_threshold is not None:
        edge |= np.abs(reading.free - gate.screen_threshold) < tolerance.knife_edge
    for logits in (expected.raw.astype(np.float64), expected.decision.logits):
        best = np.sort(logits, axis=1)[:, -2:]
        scale = size_of(logits)
        edge |= best[:, 1] - best[:, 0] < tolerance.logits * scale
    return edge


def compare(
    file: Answers,
    reference: Answers,
    rows: NDArray[np.bool_],
    *,
    gain: float = 1.0,
    tolerance: Tolerance = EXACT,
) -> tuple[float, float, NDArray[np.bool_]]:
    """Over some rows: largest logit error, its share of what is allowed, and argmax agreement per row.

    Args:
        file: the graph's answers.
        reference: what they should be.
        rows: (N,) bool: which rows to compare.
        gain: factor by which an error of the raw logits can stand in the corrected logits of a flagged row,
            which count shifts in benign standard deviations.
        tolerance: what is taken for rounding.

    Raises:
        ExportError: an error above tolerance, or a flag or candidate that differs.
    """
    worst = share = 0.0
    raw_size = size_of(reference.raw_logits[rows])
    for label in ("raw_logits", "logits"):
        ours = getattr(file, label)[rows].astype(np.float64)
        theirs = getattr(reference, label)[rows].astype(np.float64)
        corrected = reference.flagged[rows] & (label == "logits")
        size = np.where(corrected, max(size_of(theirs), gain * raw_size), size_of(theirs))
        error = np.abs(ours - theirs).max(1)
        if not (error <= tolerance.logits * size).all():
            row = int(np.argmax(np.where(np.isnan(error), np.inf, error / size)))
            raise ExportError(
                f"{file.who} differs from {reference.who} by {error[row]:.3g} in {label}; expected at most "
                f"{tolerance.logits * size[row]:.3g}. No file was written; please report the model"
            )
        worst = max(worst, float(error.max()))
        share = max(share, float((error / (tolerance.logits * size)).max()))
    gap = float(np.abs(file.suspicion[rows] - reference.suspicion[rows]).max())
    flags = int((file.flagged[rows] != reference.flagged[rows]).sum())
    candidates = int((file.candidate[rows] != reference.candidate[rows]).sum())
    if flags or candidates or not gap <= tolerance.suspicion:
        raise ExportError(
            f"{file.who} differs from {reference.who} in {flags} flags, {candidates} candidates and by "
            f"{gap:.3g} in suspicion; expected 0, 0 and at most {tolerance.suspicion}. No file was written"
        )
    return worst, share, file.logits[rows].argmax(1) == reference.logits[rows].argmax(1)


def size_of(logits: NDArray[np.floating]) -> float:
    """The scale that tolerances are shares of: the largest logit, at least 1."""
    return max(1.0, float(np.abs(logits).max()))


def verify_file(
    path: Path,
    spec: DefenceSpec,
    twin: DefendedTwin | None,
    forward: Forward,
    inputs: NDArray[np.float32],
    *,
    output_name: str,
    device: torch.device,
    batches: Sequence[int] = BATCHES,
    tolerance: Tolerance = EXACT,
) -> Comparison:
    """Run the file on the CPU provider over all inputs at every batch size and compare every output.

    Args:
        path: the finished file.
        spec: what it should compute.
        twin: the same in torch; None for a file that computes in another precision than torch.
        forward: the backbone, for the oracle: in torch, or the converted one in onnxruntime.
        inputs: (N, *shape) float32, N ≥ 1.
        output_name: of the defended logits.
        device: where the twin runs.
        batches: batch sizes.
        tolerance: what is taken for rounding.

    Raises:
        ExportError: any output differs by more than its tolerance, or hardly any input is comparable.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = oracle(spec, forward, inputs)
    rows = ~on_the_edge(spec, expected, tolerance)
    if 2 * rows.sum() < len(rows):
        raise ExportError(
            f"{int((~rows).sum())} of {len(rows)} verification images lie on a threshold: the calibrated "
            "statistics hardly vary; give more, and more varied, calibration images"
        )
    references = [oracle_answers(expected)]
    if twin is not None:
        references.append(twin_answers(twin, inputs, device))
    # Only `guarded` answers with statistics; the others answer with logits of the backbone.
    gain = float(spec.gate.response_scale.inverse_std.max()) if spec.policy is Policy.GUARDED else 1.0
    errors, shares, agreements = [], [], []
    for batch in batches:
        file = file_answers(session, output_name, inputs, batch)
        for reference in references:
            error, share, agrees = compare(file, reference, rows, gain=gain, tolerance=tolerance)
            errors.append(error)
            shares.append(share)
            agreements.append(agrees)
    agreement = float(np.mean(agreements))
    if agreement < 1:
        raise ExportError(
            f"the file gives another class than its references in {1 - agreement:.1%} of answers"
        )
    return Comparison(
        images=int(rows.sum()),
        batches=tuple(batches),
        max_abs_logit_error=max(errors),
        of_allowed=max(shares),
        argmax_agreement=agreement,
        knife_edge=int((~rows).sum()),
        flagged=int(expected.reading.flagged[rows].sum()),
    )
