"""One defended file with inputs and what it must answer, whatever engine it runs in.

The answers are those of :class:`nip_runtime.DefendedSession` here. Rows whose statistics lie on a cut may
fall either way where sums are added in another order; they are found inside the graph and left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nip_export.verify.tolerance import EXACT, HALF, Tolerance, size_of
from nip_runtime import DefendedSession
from nip_runtime.file import names
from nip_runtime.file.artifact.opening import Artifact, opened
from nip_runtime.file.manifest import Policy
from nip_runtime.run.engine.cut import Sliceable, read_numbers
from nip_runtime.run.engine.parts import plain_part

QUANTISED: Final = Tolerance(logits=2e-2, suspicion=1e-1, knife_edge=2e-2)
"""For int8: between two of 256 steps the last bit of a float decides which one a value becomes."""
_SCALE: Final = f"{names.DEFENCE}response_inverse_std"
TOLERANCES: Final = {"fp32": EXACT, "fp16": HALF, "int8": QUANTISED}
"""What is taken for rounding, by the precision in the manifest."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """A defended file, inputs and answers for N rows and C classes.

    Attributes:
        name: of the file, in tables.
        path: of the file.
        input_name: of the graph's input.
        outputs: names of the graph's outputs in order: logits, raw logits, suspicion, flagged, candidate.
        inputs: (N, *shape) float32.
        logits: (N, C) float32, defended.
        raw_logits: (N, C) float32.
        suspicion: (N,) float32.
        flagged: (N,) bool.
        on_edge: (N,) bool: rows that rounding may push over a cut.
        gain: what an error of the raw logits may be multiplied by in corrected rows.
        tolerance: what is taken for rounding.
    """

    name: str
    path: Path
    input_name: str
    outputs: tuple[str, ...]
    inputs: NDArray[np.float32]
    logits: NDArray[np.float32]
    raw_logits: NDArray[np.float32]
    suspicion: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    on_edge: NDArray[np.bool_]
    gain: float
    tolerance: Tolerance


def make_case(name: str, path: Path, inputs: NDArray[np.float32]) -> Case:
    """Ask this environment's runtime what a file answers.

    Args:
        name: of the file, in tables.
        path: of the file.
        inputs: (N, *shape) float32 within the file's bounds.
    """
    with opened(path) as (artifact, content):
        model = Sliceable(content)
        manifest = artifact.manifest
    with DefendedSession(path, device="cpu", threads=1, engine="fused") as session:
        answers = session.predict(inputs)
    tolerance = TOLERANCES[manifest.precision]
    corrects = manifest.policy is Policy.GUARDED
    gain = float(read_numbers(model.constant(_SCALE), np.float32).max()) if corrects else 1.0
    edge = _on_a_cut(artifact, model, inputs, tolerance)
    for logits in (answers.raw_logits, answers.logits):
        edge |= _ties(logits, tolerance)
    return Case(
        name=name,
        path=path,
        input_name=manifest.input.name,
        outputs=tuple(output.name for output in artifact.container.outputs),
        inputs=inputs,
        logits=answers.logits,
        raw_logits=answers.raw_logits,
        suspicion=answers.suspicion,
        flagged=answers.flagged,
        on_edge=edge,
        gain=gain,
        tolerance=tolerance,
    )


def write_plain(case: Case, path: Path) -> str:
    """Write the file's backbone alone to `path`; returns the name of its output."""
    with opened(case.path) as (artifact, content):
        path.write_bytes(plain_part(Sliceable(content), artifact.manifest).content)
    return names.RAW_LOGITS


def _on_a_cut(
    artifact: Artifact, model: Sliceable, inputs: NDArray[np.float32], tolerance: Tolerance
) -> NDArray[np.bool_]:
    """Rows within the tolerance of the screen's or the gate's cut or of a tie between hypotheses."""
    cuts = {
        node.inputs[0]: node.inputs[1]
        for node in artifact.container.nodes
        if len(node.inputs) == 2 and node.inputs[1] in (names.SCREEN_THRESHOLD, names.FLAG_THRESHOLD)
    }
    always = artifact.manifest.policy is Policy.ALWAYS
    screened = names.ROWS in model.computed
    wanted = [*cuts, *([names.EARLY] if always else []), *([names.ROWS] if screened else [])]
    content = model.part([artifact.manifest.input.name], wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = dict(zip(wanted, session.run(None, {artifact.manifest.input.name: inputs}), strict=True))
    edge = np.zeros(len(inputs), np.bool_)
    rows = found[names.ROWS] if screened else np.arange(len(inputs))
    for value, cut in cuts.items():
        distance = np.abs(found[value] - read_numbers(model.constant(cut), np.float32)).reshape(-1)
        places = rows if cut == names.FLAG_THRESHOLD else np.arange(len(inputs))
        edge[places] |= distance < tolerance.knife_edge
    if always:  # another hypothesis is another perturbation
        edge |= _ties(found[names.EARLY], tolerance)
    return edge


def _ties(logits: NDArray[np.float32], tolerance: Tolerance) -> NDArray[np.bool_]:
    best = np.sort(logits.astype(np.float64), axis=1)[:, -2:]
    return np.less(best[:, 1] - best[:, 0], tolerance.logits * size_of(logits))
