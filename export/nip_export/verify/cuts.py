"""The finished file with its cuts moved: what rarely happens to benign images is made to happen.

Whether a benign image is flagged, and whether a batch has none that takes the second pass, is up to the
images at hand. So the file is run three times over: as it is, with both cuts below every score, where every
row is corrected, and with the screen above every score, where the second pass has no row of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nip_export.attach.editor import UNLIMITED
from nip_export.attach.trial import told
from nip_export.defence.spec import DefenceSpec
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import FLAG_THRESHOLD, SCREEN_THRESHOLD
from nip_runtime.run.engine.cut import Sliceable

_LEVELS: Final = (
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
)


@dataclass(frozen=True)
class Variant:
    """A file with moved cuts.

    Attributes:
        what: how it differs from the finished one, as part of a sentence.
        content: the file.
        spec: what it should compute.
        batches: batch sizes to run it at.
    """

    what: str
    content: bytes
    spec: DefenceSpec
    batches: tuple[int, ...]


def all_flagged(content: bytes, spec: DefenceSpec) -> Variant:
    """The file with both cuts below every score: every row takes the second pass and is flagged."""
    gate = replace(spec.gate, flag_threshold=-UNLIMITED)
    moved = _with(content, FLAG_THRESHOLD, -UNLIMITED)
    if gate.screen_threshold is not None:
        gate = replace(gate, screen_threshold=-UNLIMITED)
        moved = _with(moved, SCREEN_THRESHOLD, -UNLIMITED)
    return Variant(" with every row flagged", moved, replace(spec, gate=gate), (3,))


def none_sent_on(content: bytes, spec: DefenceSpec) -> Variant | None:
    """The file with its screen above every score; None without a screen."""
    if spec.gate.screen_threshold is None:
        return None
    gate = replace(spec.gate, screen_threshold=UNLIMITED)
    moved = _with(content, SCREEN_THRESHOLD, UNLIMITED)
    return Variant(" with no row in the second pass", moved, replace(spec, gate=gate), (1, 3))


def variants(content: bytes, spec: DefenceSpec) -> Iterator[Variant]:
    """Those that show what the file as it is may not, made one after the other.

    Policy ``always`` answers every row alike anyway.
    """
    if spec.policy is not Policy.ALWAYS:
        yield all_flagged(content, spec)
    shut = none_sent_on(content, spec)
    if shut is not None:
        yield shut


def fails_without_rows(content: bytes, spec: DefenceSpec, row: NDArray[np.float32]) -> str | None:
    """What onnxruntime says when no row of a file takes the second pass, optimised or not; None if it runs.

    Args:
        content: the file, none of whose operators ends a process without rows.
        spec: what it computes.
        row: (1, *shape) float32.
    """
    shut = none_sent_on(content, spec)
    if shut is None:
        return None
    for level in _LEVELS:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = level
        try:
            session: Any = onnxruntime.InferenceSession(
                shut.content, options, providers=["CPUExecutionProvider"]
            )
            session.run(None, {session.get_inputs()[0].name: row})
        except Exception as error:  # onnxruntime's have no base class of their own
            return told(error)
    return None


def _with(content: bytes, name: str, value: float) -> bytes:
    return Sliceable(content).with_constant(name, np.array(value, np.float32))
