"""``nip predict``: runs a defended file on images and arrays."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from nip_runtime.cli.printable import printable
from nip_runtime.errors import InputError
from nip_runtime.images import ARRAY_SUFFIXES, MOST_PIXELS, find_files, read_unjudged
from nip_runtime.inputs import Images, OnBadRow
from nip_runtime.manifest import InputSpec
from nip_runtime.result import Prediction
from nip_runtime.session import DefendedSession

NAME: Final = "predict"
HELP: Final = "classify images with a defended file, and say which look attacked"
_SOME_FAILED: Final = 1
_PROGRESS_INTERVAL_S: Final = 0.2
_HEADER: Final = ("label", "raw", "suspicion", "flagged", "candidate", "reason")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Classifies images with a defended file.\n\n"
        "  label      the defended answer\n"
        "  raw        what the undefended model says\n"
        "  suspicion  share of benign images that look less suspicious\n"
        "  flagged    whether the gate holds the input for attacked\n"
        "  candidate  the class that the early layers suggest\n"
        "  reason     passed (not flagged), corrected (label changed), confirmed\n"
        "             (flagged, label kept) or detected (flagged, policy detect)"
    )
    parser.epilog = (
        "examples:\n"
        "  nip predict model.nip.onnx photo.png\n"
        "  nip predict model.nip.onnx photos/ --json > answers.jsonl\n\n"
        "An unreadable file, or a row of an array that is refused, is reported in its\n"
        "place, and the rest goes on.\n\n"
        "exit code: 0 all done, 1 some inputs have no answer, 2 wrong usage or model"
    )
    parser.add_argument("model", metavar="F.onnx", help="defended file, made by `nip export`")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="image file, folder (searched recursively), .npy, or .npz with an array `images`",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    parser.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="auto (default), cpu, cuda or cuda:1; auto falls back to cpu",
    )
    parser.add_argument(
        "--require-signature",
        metavar="PUB",
        help="public key (PEM) whose owner must have signed F.onnx; see `nip sign`",
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=64,
        metavar="N",
        help="inputs per run (default 64); less needs less memory",
    )


def run(args: argparse.Namespace) -> int:
    """Predict every input; one that has no answer is reported in its place and the rest goes on."""
    files = find_files(args.inputs)
    _quieten_opencv()
    with DefendedSession(
        args.model, device=args.device, max_batch=args.batch, require_signature=args.require_signature
    ) as session:
        names = session.manifest.output.class_names
        show = _JsonLines(names) if args.json else _Table(names, files)
        progress = _Progress(len(files), sys.stderr)
        failed = 0
        for batch in _batches(files, session.manifest.input, args.batch):
            prediction = None
            refused: dict[int, str] = {}
            if batch.images is not None:
                prediction = session.predict(batch.images, on_bad_row=OnBadRow.SKIP)
                refused = {row.row: row.why for row in prediction.refused}
            progress.clear()
            for entry in batch.entries:
                error = refused.get(entry.row) if entry.error is None else entry.error
                if error is not None or prediction is None:
                    failed += 1
                    show.error(entry.source, error or "")
                else:
                    show.row(entry.source, prediction, entry.row)
            progress.update(batch.files_done)
        progress.clear()
    return _SOME_FAILED if failed else 0


def _quieten_opencv() -> None:
    """Settle what OpenCV reads when it is loaded: a file is told about once, and by us."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))


@dataclass(frozen=True)
class _Source:
    """Where a row comes from: a file, and the index within it if it is an array."""

    path: Path
    index: int | None = None

    def __str__(self) -> str:
        return printable(str(self.path)) + ("" if self.index is None else f"[{self.index}]")


@dataclass(frozen=True)
class _Entry:
    """A row of a batch, or a file that could not be read."""

    source: _Source
    row: int
    error: str | None = None


@dataclass(frozen=True)
class _Batch:
    entries: list[_Entry]
    images: Images | None
    files_done: int


def _batches(files: list[Path], spec: InputSpec, size: int) -> Iterator[_Batch]:
    """Read files in order and join them into batches of at least ``size`` rows of one dtype and shape."""
    entries: list[_Entry] = []
    parts: list[Images] = []
    rows = 0
    for done, path in enumerate(files):
        try:
            images = read_unjudged(path, spec)
        except InputError as error:
            entries.append(_Entry(_Source(path), -1, str(error)))
            continue
        if parts and (images.dtype != parts[0].dtype or images.shape[1:] != parts[0].shape[1:]):
            yield _Batch(entries, _joined(parts), done)
            entries, parts, rows = [], [], 0
        is_array = path.suffix.lower() in ARRAY_SUFFIXES
        entries += [
            _Entry(_Source(path, index if is_array else None), rows + index) for index in range(len(images))
        ]
        parts.append(images)
        rows += len(images)
        if rows >= size:
            yield _Batch(entries, _joined(parts), done + 1)
            entries, parts, rows = [], [], 0
    if entries:
        yield _Batch(entries, _joined(parts), len(files))


def _joined(parts: list[Images]) -> Images | None:
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # a large array file is not copied


class _Table:
    """Aligned columns on stdout, errors on stderr."""

    def __init__(self, class_names: tuple[str, ...] | None, files: list[Path]) -> None:
        self._names = class_names
        longest = max((len(name) for name in class_names or ()), default=5)
        self._widths = (
            max(len(str(_Source(file))) for file in files) + 7,
            max(longest, 5),
            max(longest, 5),
            9,
            7,
            max(longest, 9),
        )
        print(self._line(("file", *_HEADER)))

    def row(self, source: _Source, prediction: Prediction, row: int) -> None:
        cells = (
            str(source),
            self._name(prediction.labels[row]),
            self._name(prediction.raw_labels[row]),
            f"{prediction.suspicion[row]:.4f}",
            "yes" if prediction.flagged[row] else "no",
            self._name(prediction.candidate[row]),
            str(prediction.reason[row]),
        )
        print(self._line(cells))

    def error(self, source: _Source, error: str) -> None:
        _report(source, error)

    def _name(self, label: np.int64) -> str:
        return _class_name(self._names, label) or str(label)

    def _line(self, cells: tuple[str, ...]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=False)]
        return printable("  ".join([*padded, *cells[len(padded) :]]).rstrip(), sys.stdout.encoding)


class _JsonLines:
    """One object per input; one without an answer has only ``file``, ``index`` and ``error``."""

    def __init__(self, class_names: tuple[str, ...] | None) -> None:
        self._names = class_names

    def row(self, source: _Source, prediction: Prediction, row: int) -> None:
        label, raw = prediction.labels[row], prediction.raw_labels[row]
        candidate = prediction.candidate[row]
        self._print(
            file=str(source.path),
            index=source.index,
            label=int(label),
            label_name=_class_name(self._names, label),
            raw_label=int(raw),
            raw_label_name=_class_name(self._names, raw),
            suspicion=float(prediction.suspicion[row]),
            flagged=bool(prediction.flagged[row]),
            candidate=int(candidate),
            candidate_name=_class_name(self._names, candidate),
            reason=str(prediction.reason[row]),
            logits=prediction.logits[row].tolist(),
            raw_logits=prediction.raw_logits[row].tolist(),
        )

    def error(self, source: _Source, error: str) -> None:
        self._print(file=str(source.path), index=source.index, error=error)
        _report(source, error)

    def _print(self, **values: Any) -> None:
        line = json.dumps(values, ensure_ascii=False)
        try:
            line.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:  # a file name that is no text, or a terminal that can't show it
            line = json.dumps(values)
        print(line)


def _report(source: _Source, error: str) -> None:
    print(f"nip: error: {source}: {printable(' '.join(error.split()))}", file=sys.stderr)


def _class_name(names: tuple[str, ...] | None, label: np.int64) -> str | None:
    return names[label] if names is not None else None


class _Progress:
    """A counter on a terminal's last line; silent elsewhere."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total, self._stream = total, stream
        self._is_on = stream.isatty() and total > 1
        self._last_s = 0.0
        self._is_shown = False

    def update(self, done: int) -> None:
        if self._is_on and time.monotonic() - self._last_s >= _PROGRESS_INTERVAL_S:
            self._last_s = time.monotonic()
            self._is_shown = True
            self._stream.write(f"\r{done}/{self._total} files")
            self._stream.flush()

    def clear(self) -> None:
        if self._is_shown:
            self._stream.write("\r\033[K")
            self._stream.flush()
            self._is_shown = False
