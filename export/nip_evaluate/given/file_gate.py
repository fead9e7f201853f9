"""The gate of a file seen at every threshold, for files that no torch twin computes exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nip_evaluate.terms.answers import GateView
from nip_evaluate.terms.threats import Images
from nip_export.defence.decision import decide, judge
from nip_export.defence.spec import DefenceSpec
from nip_export.network.grain import grain
from nip_export.verify.oracle import look_again
from nip_runtime.file.manifest import Policy
from nip_runtime.file.names import EARLY, FREE_SCORE, RAW_LOGITS
from nip_runtime.run.engine.cut import Sliceable

BATCH = 250


class FileGate:
    """Both passes by the file's own backbone in onnxruntime, all that follows from them in numpy.

    Args:
        path: a defended file.
        spec: the defence that it carries.
        input_name: of its input.
    """

    def __init__(self, path: Path, spec: DefenceSpec, input_name: str) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._outputs = [RAW_LOGITS, EARLY, FREE_SCORE]
        part = Sliceable(path.read_bytes()).part([input_name], self._outputs)
        self._look = onnxruntime.InferenceSession(part, options, providers=["CPUExecutionProvider"])
        self._spec, self._input = spec, input_name

    def __call__(self, images: Images) -> GateView:
        """What the file would answer to images (N, *shape) float32, N ≥ 1."""
        parts = [self._batch(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return GateView(
            score=np.concatenate([part.score for part in parts]),
            flaggable=np.concatenate([part.flaggable for part in parts]),
            raw_labels=np.concatenate([part.raw_labels for part in parts]),
            corrected_labels=np.concatenate([part.corrected_labels for part in parts]),
        )

    def _batch(self, images: Images) -> GateView:
        spec = self._spec
        raw, early, free = self._pass(images)
        hypothesis = early.argmax(1) if spec.policy is Policy.ALWAYS else None
        second, _, _ = self._pass(
            look_again(images, spec.view, spec.bank, spec.bounds, hypothesis=hypothesis)
        )
        reading = judge(spec.gate, free[:, 0].astype(np.float64), self._grain(images), raw, second)
        decision = decide(spec.policy, spec.gate, reading, early.astype(np.float64), raw, second)
        return GateView(reading.score, reading.screened, raw.argmax(1).astype(np.int64), decision.candidate)

    def _grain(self, images: Images) -> NDArray[np.float64] | None:
        """The grain of images, if the gate minds it."""
        return None if self._spec.gate.grain_tail is None else grain(images)[:, 0].astype(np.float64)

    def _pass(self, images: Images) -> tuple[Images, Images, Images]:
        raw, early, free = self._look.run(self._outputs, {self._input: np.ascontiguousarray(images)})
        return raw, early, free
