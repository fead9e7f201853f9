"""The iterator API: single images in, one answer per image out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Generic, NoReturn

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError, NipError
from nip_runtime.file.manifest import InputSpec
from nip_runtime.inputs.images import read_one
from nip_runtime.result import Prediction, Reason
from nip_runtime.stream.limits import Limits
from nip_runtime.stream.pipeline import Pipeline
from nip_runtime.stream.slots import Item, Predict


class OnError(StrEnum):
    """What a stream does with an item that can't be answered."""

    RAISE = "raise"
    """Answers those before it, then raises its error and ends."""
    YIELD = "yield"
    """Hands out an answer that holds the error, and goes on."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(Generic[Item]):
    """What the model says of one item.

    Attributes:
        index: place of the item in the stream, from 0.
        item: as the source gave it.
        error: why there is no answer; None if there is one. Reading a label of a failed item raises it.
    """

    index: int
    item: Item
    error: Exception | None
    _prediction: Prediction | None
    _row: int

    @property
    def label(self) -> int:
        """The defended answer."""
        return int(self._answered.labels[self._row])

    @property
    def logits(self) -> NDArray[np.float32]:
        """(C,) float32, defended."""
        row: NDArray[np.float32] = self._answered.logits[self._row]
        return row

    @property
    def raw_label(self) -> int:
        """What the undefended model says."""
        return int(self._answered.raw_labels[self._row])

    @property
    def raw_logits(self) -> NDArray[np.float32]:
        """(C,) float32 of the undefended model."""
        row: NDArray[np.float32] = self._answered.raw_logits[self._row]
        return row

    @property
    def suspicion(self) -> float:
        """Share of benign calibration images that are less suspicious, in [0, 1]."""
        return float(self._answered.suspicion[self._row])

    @property
    def flagged(self) -> bool:
        """Whether the gate takes the item for attacked."""
        return bool(self._answered.flagged[self._row])

    @property
    def candidate(self) -> int:
        """The likeliest class besides the predicted one; under ``always`` that of the early read-outs."""
        return int(self._answered.candidate[self._row])

    @property
    def reason(self) -> Reason:
        """Why it has the label it has."""
        return self._answered.reason[self._row]

    @property
    def _answered(self) -> Prediction:
        if self.error is not None:
            raise self.error
        if self._prediction is None:
            raise AttributeError("an answer has either a prediction or an error")
        return self._prediction


def predict_stream(
    predict: Predict,
    items: Iterable[Item],
    *,
    decode: Callable[[Item], object] | None = None,
    batch: int = 16,
    workers: int = 2,
    runs: int = 2,
    prefetch: int = 1,
    flush_after_ms: float | None = None,
    on_error: str = OnError.RAISE,
) -> Generator[Answer[Item], None, None]:
    """Answer a stream of single images in order, while later ones are still being read and decoded.

    Nothing starts before the first answer is asked for. At most ``batch × (1 + runs + prefetch)`` items are
    held at any time: a slow consumer slows the source down. Leaving the loop early closes the stream once
    nothing holds it any more; ``contextlib.closing`` makes sure. Closing waits for the read, the decodes and
    the runs in progress, and leaves no thread behind.

    Args:
        predict: answers a stack of images, as ``DefendedSession.predict`` does; called from ``runs`` threads.
        items: images without batch axis, or whatever ``decode`` turns into one; may be endless. Read in a
            thread of its own, one item at a time.
        decode: runs in ``workers`` threads at once, so it must not keep state. It should release Python's
            lock, as OpenCV and numpy do on whole images.
        batch: items per run, at most. Items of another dtype or shape than their neighbours end a batch.
        workers: threads that decode.
        runs: runs at the same time. With two, the copies and checks of one batch overlap the compute of
            another; each needs memory for its activations.
        prefetch: batches decoded ahead of those being run.
        flush_after_ms: how long a decoded item waits for its batch to fill. None waits for full batches,
            which suits files; a camera wants a frame's time, or 0: whatever is there when a run is free.
        on_error: "raise" or "yield", for items that can't be decoded or answered. The others of its batch get
            their answers either way. What the source itself raises is always raised, after the items before.

    Raises:
        InputError: if an argument is out of range.
        Exception: with "raise", an item's own error; its message starts with the item's index if it is one of
            ours, else a note carries it.
    """
    if isinstance(items, str | bytes | Path):
        raise InputError.mismatch(
            expected="an iterable of items", got=repr(items), fix="list the files: find_files([folder])"
        )
    if on_error not in tuple(OnError):
        raise InputError.mismatch(
            expected="on_error raise or yield", got=repr(on_error), fix="name one of these"
        )
    pipeline = Pipeline(
        predict,
        iter(items),
        decode=decode,
        limits=Limits(
            batch=batch, workers=workers, runs=runs, prefetch=prefetch, flush_after_ms=flush_after_ms
        ),
        stops_at_error=on_error == OnError.RAISE,
    )
    return _answers(pipeline, raises=on_error == OnError.RAISE)


def _answers(pipeline: Pipeline[Item], *, raises: bool) -> Generator[Answer[Item], None, None]:
    slots = pipeline.slots()
    try:
        for slot in slots:
            if raises and slot.error is not None:
                _raise_located(slot.error, slot.index)
            yield Answer(
                index=slot.index,
                item=slot.item,
                error=slot.error,
                _prediction=slot.prediction,
                _row=slot.row,
            )
    finally:
        slots.close()


def _raise_located(error: Exception, index: int) -> NoReturn:
    if isinstance(error, NipError):  # one finished message, for those who print nothing else
        raise type(error)(f"item {index}: {error}") from error
    error.add_note(f"item {index} of the stream")
    raise error


def image_reader(spec: InputSpec) -> Callable[[object], object]:
    """A ``decode`` for streams of image files, resized as the manifest pins it; anything but a path passes.

    An ``.npy`` or ``.npz`` file must hold one item, with its batch axis.

    Args:
        spec: the input of the model that will answer.
    """

    def read(item: object) -> object:
        if not isinstance(item, str | Path):
            return item
        return read_one(Path(item), spec)[0]

    return read
