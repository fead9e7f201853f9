"""The finished graph in onnxruntime against the oracle in numpy and, for fp32, the twin in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from nip_export.defence.spec import DefenceSpec
from nip_export.network import evaluation_mode
from nip_export.verify.cuts import variants
from nip_export.verify.oracle import Expected, Forward, both_passes, judged
from nip_export.verify.tolerance import EXACT, Tolerance, on_the_edge, size_of, tied
from nip_export.verify.twin import DefendedTwin
from nip_runtime.errors import ExportError
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import CANDIDATE, FLAGGED, RAW_LOGITS, SUSPICION
from nip_runtime.run.memory import trim

BATCHES = (1, 3, 17)
AT_ONCE = 4
"""Rows that the twin answers at once."""
LEAST_COMPARED = 3
"""Rows of which the corrected answer has to be compared."""


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
        second_pass: inputs of which the answer from the second pass was compared: with policy ``guarded`` the
            corrected one, for which the file was also run with its cuts below every score.
    """

    images: int
    batches: tuple[int, ...]
    max_abs_logit_error: float
    of_allowed: float
    argmax_agreement: float
    knife_edge: int
    flagged: int
    second_pass: int


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
    session: onnxruntime.InferenceSession,
    output_name: str,
    inputs: NDArray[np.float32],
    batch: int,
    what: str = "",
) -> Answers:
    """Run the graph over all inputs in batches of one size.

    Args:
        session: of the file.
        output_name: of the defended logits.
        inputs: (N, *shape) float32.
        batch: rows per run.
        what: how the file differs from the finished one, for errors.

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
            f"onnxruntime fails on the finished file{what} at batch {batch}: {error}. No file was written; "
            "please report the model, with its precision"
        ) from error
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Answers(f"the file{what} at batch {batch}", *columns)


def twin_answers(twin: DefendedTwin, inputs: NDArray[np.float32], device: torch.device) -> Answers:
    """Run the twin over all inputs, a few at once: activations of photographs are large."""
    with evaluation_mode(twin), torch.no_grad():
        twin = twin.to(device)
        parts = [twin(part.to(device))[:5] for part in torch.split(torch.from_numpy(inputs), AT_ONCE)]
    columns = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return Answers("the torch twin", *columns)


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


def compare(
    file: Answers,
    reference: Answers,
    rows: NDArray[np.bool_],
    *,
    certain: NDArray[np.bool_] | None = None,
    gain: float = 1.0,
    tolerance: Tolerance = EXACT,
) -> tuple[float, float, NDArray[np.bool_]]:
    """Over some rows: largest logit error, its share of what is allowed, and argmax agreement per row.

    Args:
        file: the graph's answers.
        reference: what they should be.
        rows: (N,) bool: which rows to compare.
        certain: (N,) bool: those of them whose class no rounding changes; None: all.
        gain: factor by which an error of the raw logits can stand in the corrected logits of a flagged row,
            which count shifts in benign standard deviations and the evidence of early layers.
        tolerance: what is taken for rounding.

    Raises:
        ExportError: an error above tolerance, or a flag or candidate that differs.
    """
    worst = share = 0.0
    certain = rows if certain is None else certain
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
    candidates = int((file.candidate[certain] != reference.candidate[certain]).sum())
    if flags or candidates or not gap <= tolerance.suspicion:
        raise ExportError(
            f"{file.who} differs from {reference.who} in {flags} flags, {candidates} candidates and by "
            f"{gap:.3g} in suspicion; expected 0, 0 and at most {tolerance.suspicion}. No file was written"
        )
    return worst, share, file.logits[certain].argmax(1) == reference.logits[certain].argmax(1)


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

    Then once more with its cuts moved, so that every row is flagged, and so that none takes the second pass.

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
    trim()  # the stages before have let go of more than the file needs now
    passes = both_passes(spec, forward, inputs)
    # Only `guarded` answers with statistics; the others answer with logits of the backbone.
    gain = 1.0
    if spec.policy is Policy.GUARDED:
        evidence = passes.terms / size_of(passes.look.raw)
        gain = max(float(spec.gate.response_scale.inverse_std.max()), evidence)
    errors, shares, agreements = list[float](), list[float](), list[NDArray[np.bool_]]()

    def run(model: Path | bytes, spec: DefenceSpec, batches: Sequence[int], what: str = "") -> Rows:
        expected = judged(spec, passes)
        rows = ~on_the_edge(spec, expected, tolerance)
        if not what and 2 * rows.sum() < len(rows):
            raise ExportError(
                f"{int((~rows).sum())} of {len(rows)} verification images lie on a threshold: the calibrated "
                "statistics hardly vary; give more, and more varied, calibration images"
            )
        references = [oracle_answers(expected)]
        if twin is not None:
            references.append(twin_answers(twin.judging(spec), inputs, device))
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        certain = rows & ~tied(expected, gain, tolerance)
        for batch in batches if rows.any() else ():
            file = file_answers(session, output_name, inputs, batch, what)
            for reference in references:
                error, share, agrees = compare(
                    file, reference, rows, certain=certain, gain=gain, tolerance=tolerance
                )
                errors.append(error)
                shares.append(share)
                agreements.append(agrees)
        return Rows(rows, expected.reading.flagged & rows)

    found = run(path, spec, batches)
    second_pass = int(found.compared.sum()) if spec.policy is Policy.ALWAYS else 0
    for variant in variants(path.read_bytes(), spec):
        moved = run(variant.content, variant.spec, variant.batches, variant.what)
        second_pass = max(second_pass, int(moved.flagged.sum()))
    if second_pass < min(LEAST_COMPARED, len(inputs)):
        raise ExportError(
            f"the corrected answer could be compared for {second_pass} of {len(inputs)} verification images, "
            f"expected at least {LEAST_COMPARED}: for the others classes tie; give more, and more varied, "
            "calibration images"
        )
    agreement = float(np.mean(np.concatenate(agreements)))
    if agreement < 1:
        raise ExportError(
            f"the file gives another class than its references in {1 - agreement:.1%} of answers"
        )
    return Comparison(
        images=int(found.compared.sum()),
        batches=tuple(batches),
        max_abs_logit_error=max(errors),
        of_allowed=max(shares),
        argmax_agreement=agreement,
        knife_edge=int((~found.compared).sum()),
        flagged=int(found.flagged.sum()),
        second_pass=second_pass,
    )


@dataclass(frozen=True, eq=False)
class Rows:
    """Which of the N inputs were compared, and which of those were flagged: (N,) bool each."""

    compared: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
