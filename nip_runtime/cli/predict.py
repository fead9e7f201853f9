"""``nip predict``: runs a defended file on images, recordings and arrays."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nip_runtime.cli.predict_text import JsonLines, Progress, Source, Table
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec
from nip_runtime.inputs.arrays import Images, OnBadRow
from nip_runtime.inputs.images import ARRAY_SUFFIXES, find_files, quieten_opencv, read_unjudged, suffixes_of
from nip_runtime.session import DefendedSession
from nip_runtime.support.arguments import check_whole
from nip_runtime.support.options import add_device

NAME: Final = "predict"
HELP: Final = "classify images or recordings with a defended file, and say which look attacked"
_SOME_FAILED: Final = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Classifies images, or recordings, with a defended file.\n\n"
        "  label      the defended answer\n"
        "  raw        what the undefended model says\n"
        "  suspicion  share of benign images that look less suspicious\n"
        "  flagged    whether the gate takes the input for attacked\n"
        "  candidate  the likeliest other class, which a correction answers\n"
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
        help="image or sound file, folder (searched recursively), .npy, or .npz with an array `images`",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    add_device(parser)
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
    check_whole("--batch", args.batch)
    quieten_opencv()
    with DefendedSession(
        args.model, device=args.device, max_batch=args.batch, require_signature=args.require_signature
    ) as session:
        files = find_files(args.inputs, suffixes_of(session.manifest.input))
        names = session.manifest.output.class_names
        show = JsonLines(names) if args.json else Table(names, files)
        progress = Progress(len(files), sys.stderr)
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


@dataclass(frozen=True)
class _Entry:
    """A row of a batch, or a file that could not be read."""

    source: Source
    row: int
    error: str | None = None


@dataclass(frozen=True)
class _Batch:
    entries: list[_Entry]
    images: Images | None
    files_done: int


def _batches(files: list[Path], spec: InputSpec, size: int) -> Iterator[_Batch]:
    """Read files in order and join them into batches of rows of one dtype and shape.

    A batch ends with the file that brings it to ``size`` entries: unreadable files count too, so that a
    folder full of them is reported as it is read.
    """
    entries: list[_Entry] = []
    parts: list[Images] = []
    rows = 0
    for done, path in enumerate(files):
        try:
            images = read_unjudged(path, spec)
        except InputError as error:
            entries.append(_Entry(Source(path), -1, str(error)))
            if len(entries) >= size:
                yield _Batch(entries, _joined(parts), done + 1)
                entries, parts, rows = [], [], 0
            continue
        if parts and (images.dtype != parts[0].dtype or images.shape[1:] != parts[0].shape[1:]):
            yield _Batch(entries, _joined(parts), done)
            entries, parts, rows = [], [], 0
        is_array = path.suffix.lower() in ARRAY_SUFFIXES
        entries += [
            _Entry(Source(path, index if is_array else None), rows + index) for index in range(len(images))
        ]
        parts.append(images)
        rows += len(images)
        if len(entries) >= size:
            yield _Batch(entries, _joined(parts), done + 1)
            entries, parts, rows = [], [], 0
    if entries:
        yield _Batch(entries, _joined(parts), len(files))


def _joined(parts: list[Images]) -> Images | None:
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # a large array file is not copied
