"""The front door: opens a defended file and predicts with it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from nip_runtime import providers
from nip_runtime.artifact import read_artifact
from nip_runtime.errors import ArtifactError, InputError, NipError
from nip_runtime.inputs import check_images, to_float32
from nip_runtime.manifest import Manifest
from nip_runtime.names import CANDIDATE, FLAGGED, RAW_LOGITS, SUSPICION
from nip_runtime.result import Prediction, explain

_log = logging.getLogger(__name__)


class DefendedSession:
    """Runs one defended file.

    The file is checked against its manifest before onnxruntime sees it. One session may be used from several
    threads at once; a pickled one opens its file again where it is unpickled.

    Args:
        path: the ``.onnx`` file.
        device: "auto" (CUDA if it really works, else CPU; logged at INFO), "cpu", "cuda" or "cuda:1".
        threads: CPU threads for one run; None lets onnxruntime decide.
        max_batch: inputs per run; larger batches are split.

    Raises:
        ArtifactError: if the file is missing, damaged, not a defended one, or differs from its manifest.
        DeviceError: if the device can't be had; says what is missing.
        DependencyError: if onnxruntime is missing.
        InputError: if ``threads`` or ``max_batch`` is not a positive whole number.
    """

    def __init__(
        self, path: str | Path, *, device: str = "auto", threads: int | None = None, max_batch: int = 256
    ) -> None:
        _check_positive("max_batch", max_batch)
        if threads is not None:
            _check_positive("threads", threads)
        artifact = read_artifact(path)
        resolved = providers.resolve(device)
        try:
            self._session: Any = providers.open_session(artifact.path, resolved, threads=threads)
        except NipError:
            raise
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise ArtifactError.mismatch(
                expected=f"a model that onnxruntime can run at {path}",
                got=" ".join(str(error).split()),
                fix="upgrade onnxruntime, or export the model again",
            ) from error
        self._path = artifact.path.absolute()
        self._manifest = artifact.manifest
        self._device = resolved
        self._reopen = (str(self._path), device, threads, max_batch)
        self._max_batch = max_batch
        _log.info("opened %s on %s, policy %s", path, resolved, self._manifest.policy)

    @property
    def path(self) -> Path:
        """Absolute path of the file."""
        return self._path

    @property
    def manifest(self) -> Manifest:
        """What the file says about itself."""
        return self._manifest

    @property
    def device(self) -> str:
        """The device taken: "cpu", or "cuda:0" and so on."""
        return str(self._device)

    def predict(self, images: object) -> Prediction:
        """Predict N inputs, N ≥ 0.

        Args:
            images: numpy array. For image models uint8 (N, H, W, C), or (N, H, W) for one channel; for all
                models float32 (N, *shape), (N, C, H, W) for images, within the manifest's bounds.

        Raises:
            InputError: if the array is not of this kind, or holds NaN, Inf or values out of bounds; or if
                the session is closed.
        """
        session = self._session
        if session is None:
            raise InputError.mismatch(
                expected="an open session", got="a closed one", fix="open the file in a new DefendedSession"
            )
        spec = self._manifest.input
        checked = check_images(images, spec)
        count, classes = len(checked), self._manifest.output.classes
        logits = np.empty((count, classes), np.float32)
        raw_logits = np.empty((count, classes), np.float32)
        suspicion = np.empty(count, np.float32)
        flagged = np.empty(count, np.bool_)
        candidate = np.empty(count, np.int64)
        names = [self._manifest.output.name, RAW_LOGITS, SUSPICION, FLAGGED, CANDIDATE]
        for start in range(0, count, self._max_batch):
            rows = slice(start, start + self._max_batch)
            outputs = session.run(names, {spec.name: to_float32(checked[rows], spec)})
            logits[rows], raw_logits[rows], suspicion[rows], flagged[rows], candidate[rows] = outputs
        labels = logits.argmax(axis=1).astype(np.int64, copy=False)
        raw_labels = raw_logits.argmax(axis=1).astype(np.int64, copy=False)
        return Prediction(
            labels=labels,
            logits=logits,
            raw_labels=raw_labels,
            raw_logits=raw_logits,
            suspicion=suspicion,
            flagged=flagged,
            candidate=candidate,
            reason=explain(self._manifest.policy, labels, raw_labels, flagged),
        )

    def close(self) -> None:
        """Let go of the model; runs in progress in other threads finish. Closing twice is harmless."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, self._reopen

    def __repr__(self) -> str:
        return f"DefendedSession({str(self._path)!r}, device={self.device!r})"


def _open(path: str, device: str, threads: int | None, max_batch: int) -> DefendedSession:
    return DefendedSession(path, device=device, threads=threads, max_batch=max_batch)


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError.mismatch(
            expected=f"{name} of at least 1", got=repr(value), fix="pass a positive whole number"
        )
