"""The front door: opens a defended file and predicts with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import ArtifactError, InputError, NipError
from nip_runtime.file.artifact import IN_MEMORY, InMemory, opened
from nip_runtime.file.manifest import Manifest
from nip_runtime.inputs.arrays import OnBadRow
from nip_runtime.predicting import predict
from nip_runtime.result import Prediction
from nip_runtime.run import providers
from nip_runtime.run.batch_sizes import buckets
from nip_runtime.run.engine.answers import Answers, EngineKind
from nip_runtime.run.engine.choose import Opened, open_engine
from nip_runtime.run.engine.cut import Sliceable
from nip_runtime.run.memory import trim
from nip_runtime.run.providers import Device, SessionSettings
from nip_runtime.run.runners import DeviceRunner, HostRunner, Runner, from_dlpack, to_dlpack
from nip_runtime.run.runners.dlpack import DlpackTensor
from nip_runtime.run.runners.memory import telling_of_memory
from nip_runtime.support.arguments import check_whole

if TYPE_CHECKING:
    from nip_runtime.observe.guard import Guarded
    from nip_runtime.observe.protocol import Observer
    from nip_runtime.stream import Answer

_log = logging.getLogger(__name__)

Item = TypeVar("Item")


class DefendedSession:
    """Runs one defended file.

    The file is checked against its manifest before onnxruntime sees it. One session may be used from several
    threads at once; a pickled one opens its file again where it is unpickled.

    Args:
        path: the ``.onnx`` file, or its bytes (of a resource, a bucket), which the session
            then keeps, to pickle.
        device: "auto" (CUDA if it really works, else CPU; logged at INFO), "cpu", "cuda", "cuda:1",
            "tensorrt", or an execution provider by onnxruntime's name.
        engine: "fused" (the whole graph in one onnxruntime session), "gated" (the backbone in memory once,
            its second pass on rows that the host picks) or "auto" (whichever costs less here; see
            ``engine_why``). Answers are the same: on the CPU bit for bit, but for the last bits of rows
            that took the second pass of a transformer or an fp16 file.
        threads: CPU threads for one run; short for ``SessionSettings(threads=threads)``. None: as many as the
            process's affinity mask and cgroup allow.
        settings: all else that can be set about onnxruntime; wins over ``threads``.
        max_batch: inputs per run; larger batches are split. :func:`nip_runtime.rows_within` measures how
            many a memory limit allows.
        require_signature: path of a P-256 public key (PEM). The file's bytes are then verified against the
            bundle beside it, ``<file>.sig``, before they are parsed; see :mod:`nip_runtime.file.signing`.
        signature: that bundle's path or bytes, if it is elsewhere, or ``path`` is bytes.
        observer: told of every ``predict``; see :mod:`nip_runtime.observe`. Its failures are logged, and lose
            no answer.

    Raises:
        ArtifactError: if the file is missing, damaged, not a defended one, or differs from its manifest; if
            the signature asked for is missing, or does not fit; or if engine "gated" is asked for and an
            earlier version wrote the file.
        DeviceError: if the device can't be had; says what is missing.
        DependencyError: if onnxruntime is missing, or for signatures the extra "sign".
        InputError: if ``path`` is neither path nor bytes, ``engine`` is unknown, ``threads`` or ``max_batch``
            no positive whole number, ``require_signature`` no public key, or ``observer`` none; if bytes are
            to be verified and ``signature`` is missing, or there is one and no key to verify it by.
    """

    def __init__(
        self,
        path: str | Path | InMemory,
        *,
        device: str = "auto",
        engine: str = EngineKind.AUTO,
        threads: int | None = None,
        settings: SessionSettings | None = None,
        max_batch: int = 256,
        require_signature: str | Path | None = None,
        signature: str | Path | InMemory | None = None,
        observer: Observer | None = None,
    ) -> None:
        source = _source(path)
        check_whole("max_batch", max_batch)
        if engine not in tuple(EngineKind):
            raise InputError.mismatch(
                expected=f"engine {', '.join(EngineKind)}", got=repr(engine), fix="name one of these"
            )
        settings = SessionSettings(threads=threads) if settings is None else settings
        self._observer = None if observer is None else _guarded(observer)
        key = None if require_signature is None else Path(require_signature).absolute()
        if signature is not None and key is None:
            raise InputError.mismatch(
                expected="require_signature beside signature",
                got="no public key",
                fix="name the signer's, or leave signature out",
            )
        bundle = None if signature is None else _absolute(_source(signature))
        with opened(source, require_signature=key, signature=bundle) as (artifact, content):
            resolved = providers.resolve(device, settings=settings)
            runner = _runner(resolved, settings)
            try:
                self._opened: Opened[Any] | None = open_engine(
                    EngineKind(engine),
                    Sliceable(content, artifact.container),
                    artifact.manifest,
                    device=resolved,
                    settings=settings,
                    runner=runner,
                    open_again=partial(opened, _absolute(source), require_signature=key, signature=bundle),
                )
            except NipError:
                raise
            except Exception as error:  # onnxruntime's errors share no base class of their own
                raise ArtifactError.mismatch(
                    expected=f"a model that onnxruntime can run at {artifact.path}",
                    got=" ".join(str(error).split()),
                    fix="upgrade onnxruntime, or export the model again",
                ) from error
        trim()
        again = _absolute(source)
        self._path = again if isinstance(again, Path) else None
        self._manifest = artifact.manifest
        self._device = resolved
        self._runner: Runner[Any] = runner
        self._reopen = (again, device, engine, settings, max_batch, key, bundle, observer)
        self._max_batch = max_batch
        _log.info("opened %s on %s, policy %s", artifact.path, resolved, self._manifest.policy)
        _log.info("engine %s: %s", self.engine, self._opened.why)

    @property
    def path(self) -> Path | None:
        """Absolute path of the file; None if it was given as its bytes."""
        return self._path

    @property
    def manifest(self) -> Manifest:
        """What the file says about itself."""
        return self._manifest

    @property
    def device(self) -> str:
        """The device taken: "cpu", or "cuda:0" and so on."""
        return str(self._device)

    @property
    def engine(self) -> str:
        """The engine taken, "fused" or "gated"."""
        return str(self._require_open().engine.kind)

    @property
    def engine_why(self) -> str:
        """Why this engine was taken."""
        return self._require_open().why

    @property
    def observer(self) -> Observer | None:
        """The observer given; of an unpickled session, its copy."""
        return None if self._observer is None else self._observer.observer

    def predict(self, images: object, *, on_bad_row: str = OnBadRow.RAISE) -> Prediction:
        """Predict N inputs, N ≥ 0.

        Args:
            images: numpy array. For image models uint8 (N, H, W, C), or (N, H, W) for one channel; for all
                models float32 (N, *shape), (N, C, H, W) for images, within the manifest's bounds. Read in
                place: what another thread writes to it meanwhile may reach the model unchecked, and changes
                the answers to the rows written to, no others. A memory-mapped file must not be shortened
                meanwhile: the system ends every process that reads beyond its end.
            on_bad_row: "raise", or "skip" rows that hold NaN, Inf or values out of bounds, or for which the
                model has no finite answer: see ``refused`` of the prediction.

        Raises:
            InputError: if the array is not of this kind, or has more rows than answers fit in memory; with
                "raise" if there is a bad row; or if the session is closed.
            OutOfMemoryError: if memory does not hold the run, and ``SessionSettings.on_out_of_memory`` asks
                for nothing else or can't help.
        """
        observer = self._observer
        if observer is None:
            return self._predict(images, on_bad_row)
        began = time.perf_counter()
        try:
            prediction = self._predict(images, on_bad_row)
        except Exception as error:
            observer.observe_error(error, duration_s=time.perf_counter() - began)
            raise
        observer.observe(prediction, duration_s=time.perf_counter() - began)
        return prediction

    def predict_tensor(self, images: DlpackTensor) -> Answers[DlpackTensor]:
        """Predict N inputs that are already where this session computes, and leave the answers there.

        Nothing passes through the host but one flag per row. Values are *not* checked: looking at them would
        bring them to the host. Rows with NaN or values out of bounds get answers without meaning: they may
        be NaN, and not flagged. The other rows keep theirs.

        Args:
            images: float32 (N, *shape), 1 ≤ N ≤ ``max_batch``, C-contiguous, on this session's device: a
                torch or CuPy tensor, or anything else that speaks DLPack; a numpy array on the CPU.

        Returns:
            The file's outputs as tensors for ``torch.from_dlpack``, ``cupy.from_dlpack`` or
            ``numpy.from_dlpack``, on the device, uncopied.

        Raises:
            InputError: if the tensor is elsewhere, of another shape or type, too long or empty, or the
                session is closed.
            DeviceError: if this device or onnxruntime can't keep tensors in place.
        """
        engine = self._require_open().engine
        tensor = from_dlpack(images, device=self._device, shape=(None, *self._manifest.input.shape))
        rows = tensor.shape()[0]
        if not 1 <= rows <= self._max_batch:
            raise InputError.mismatch(
                expected=f"1 to {self._max_batch} rows",
                got=str(rows),
                fix="split the tensor, or raise max_batch",
            )
        on_host = isinstance(self._runner, HostRunner)
        answers: Answers[Any] = engine.run(to_dlpack(tensor) if on_host else tensor)
        return answers if on_host else answers.map(to_dlpack)

    def predict_stream(
        self,
        items: Iterable[Item],
        *,
        decode: Callable[[Item], object] | None = None,
        batch: int = 16,
        workers: int = 2,
        runs: int = 2,
        prefetch: int = 1,
        flush_after_ms: float | None = None,
        on_error: str = "raise",
    ) -> Generator[Answer[Item], None, None]:
        """Answer a stream of single images in order, while later ones are still being read and decoded.

        See :func:`nip_runtime.stream.predict_stream` for arguments and errors. Without ``decode``, paths of
        image files are read and resized as the manifest pins it, and arrays pass as they are.
        """
        from nip_runtime.stream import (
            image_reader,
            predict_stream,
        )  # threads and images: not for all to import

        self._require_open()
        return predict_stream(
            partial(self.predict, on_bad_row=OnBadRow.SKIP),
            items,
            decode=image_reader(self._manifest.input) if decode is None else decode,
            batch=batch,
            workers=workers,
            runs=runs,
            prefetch=prefetch,
            flush_after_ms=flush_after_ms,
            on_error=on_error,
        )

    def warmup(self, batches: Sequence[int] | None = None) -> None:
        """Run once what traffic will run, so that the first requests do not pay for first times.

        Args:
            batches: numbers of rows to come; by default the powers of two up to ``max_batch`` on a GPU, where
                every new size costs a search for kernels, and one row on the CPU.

        Raises:
            InputError: if a number is not within 1…``max_batch``, or the session is closed.
        """
        on_cpu = self._device.provider == providers.CPU
        sizes = tuple(batches) if batches is not None else ((1,) if on_cpu else buckets(self._max_batch))
        for rows in sizes:
            if not 1 <= rows <= self._max_batch:
                raise InputError.mismatch(
                    expected=f"1 to {self._max_batch} rows",
                    got=repr(rows),
                    fix="raise max_batch, or warm less",
                )
        engine = self._require_open().engine
        for rows in sizes:
            engine.warm(self._runner.from_host(self._blank(rows)))

    def release_memory(self) -> None:
        """Give onnxruntime's free memory back to the system: between bursts, after a large batch.

        Raises:
            InputError: if the session is closed.
        """
        options = providers.run_options(self._device, shrink=True)
        self._require_open().engine.warm(self._runner.from_host(self._blank(1)), options=options)
        trim()

    def close(self) -> None:
        """Let go of the model; runs in progress in other threads finish. Closing twice is harmless."""
        self._opened = None

    def _require_open(self) -> Opened[Any]:
        if self._opened is None:
            raise InputError.mismatch(
                expected="an open session", got="a closed one", fix="open the file in a new DefendedSession"
            )
        return self._opened

    def _blank(self, rows: int) -> NDArray[np.float32]:
        spec = self._manifest.input
        return np.full((rows, *spec.shape), spec.bounds[0], np.float32)

    def _predict(self, images: object, on_bad_row: str) -> Prediction:
        self._require_open()
        with telling_of_memory():
            return predict(
                images, self._host_answers, self._manifest, max_batch=self._max_batch, on_bad_row=on_bad_row
            )

    def _host_answers(self, inputs: NDArray[np.float32]) -> Answers[NDArray[Any]]:
        return self._require_open().host.answer(inputs)

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
        return f"DefendedSession({str(self._path or IN_MEMORY)!r}, device={self.device!r})"


def _source(given: object) -> Path | bytes:
    """A file's path, or its bytes.

    Raises:
        InputError: neither.
    """
    if isinstance(given, str | PathLike):
        return Path(given)
    if isinstance(given, InMemory):
        return bytes(given)  # nobody else can change these
    raise InputError.mismatch(
        expected="the path of a file, or its bytes",
        got=type(given).__name__,
        fix="pass a str, a Path or bytes; read a stream first",
    )


def _absolute(source: Path | bytes) -> Path | bytes:
    return source.absolute() if isinstance(source, Path) else source


def _open(
    source: Path | bytes,
    device: str,
    engine: str,
    settings: SessionSettings,
    max_batch: int,
    require_signature: Path | None,
    signature: Path | bytes | None,
    observer: Observer | None,
) -> DefendedSession:
    return DefendedSession(
        source,
        device=device,
        engine=engine,
        settings=settings,
        max_batch=max_batch,
        require_signature=require_signature,
        signature=signature,
        observer=observer,
    )


def _runner(device: Device, settings: SessionSettings) -> Runner[Any]:
    """Numpy on the CPU and where tensors can't stay on the device."""
    if device.provider == providers.CPU or device.memory is None:
        return HostRunner()
    return DeviceRunner(device, capture=settings.cuda_graph)


def _guarded(observer: Observer) -> Guarded:
    from nip_runtime.observe.guard import guarded  # imported only for those who use it

    return guarded(observer)
