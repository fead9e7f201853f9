"""How ``nip predict`` shows answers and errors: a table, or JSON lines; and how far it is."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from nip_runtime.cli.printable import printable
from nip_runtime.result import Prediction

_PROGRESS_INTERVAL_S: Final = 0.2
_HEADER: Final = ("label", "raw", "suspicion", "flagged", "candidate", "reason")


@dataclass(frozen=True)
class Source:
    """Where a row comes from: a file, and the index within it if it is an array."""

    path: Path
    index: int | None = None

    def __str__(self) -> str:
        return printable(str(self.path)) + ("" if self.index is None else f"[{self.index}]")


class Table:
    """Aligned columns on stdout, errors on stderr."""

    def __init__(self, class_names: tuple[str, ...] | None, files: list[Path]) -> None:
        self._names = class_names
        longest = max((len(name) for name in class_names or ()), default=5)
        self._widths = (
            max(len(str(Source(file))) for file in files) + 7,
            max(longest, 5),
            max(longest, 5),
            9,
            7,
            max(longest, 9),
        )
        print(self._line(("file", *_HEADER)))

    def row(self, source: Source, prediction: Prediction, row: int) -> None:
        """Print the answer to a row."""
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

    def error(self, source: Source, error: str) -> None:
        """Report an input without an answer."""
        _report(source, error)

    def _name(self, label: np.int64) -> str:
        return _class_name(self._names, label) or str(label)

    def _line(self, cells: tuple[str, ...]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=False)]
        return printable("  ".join([*padded, *cells[len(padded) :]]).rstrip(), sys.stdout.encoding)


class JsonLines:
    """One object per input; one without an answer has only ``file``, ``index`` and ``error``."""

    def __init__(self, class_names: tuple[str, ...] | None) -> None:
        self._names = class_names

    def row(self, source: Source, prediction: Prediction, row: int) -> None:
        """Print the answer to a row."""
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

    def error(self, source: Source, error: str) -> None:
        """Print and report an input without an answer."""
        self._print(file=str(source.path), index=source.index, error=error)
        _report(source, error)

    def _print(self, **values: Any) -> None:
        line = json.dumps(values, ensure_ascii=False)
        try:
            line.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:  # a file name that is no text, or a terminal that can't show it
            line = json.dumps(values)
        print(line)


def _report(source: Source, error: str) -> None:
    said, where = printable(" ".join(error.split())), str(source)
    # Most errors of files name the file themselves.
    print(f"nip: error: {said if where in said else f'{where}: {said}'}", file=sys.stderr)


def _class_name(names: tuple[str, ...] | None, label: np.int64) -> str | None:
    return names[label] if names is not None else None


class Progress:
    """A counter on a terminal's last line; silent elsewhere."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total, self._stream = total, stream
        self._is_on = stream.isatty() and total > 1
        self._last_s = 0.0
        self._is_shown = False

    def update(self, done: int) -> None:
        """Say how many files are done."""
        if self._is_on and time.monotonic() - self._last_s >= _PROGRESS_INTERVAL_S:
            self._last_s = time.monotonic()
            self._is_shown = True
            self._stream.write(f"\r{done}/{self._total} files")
            self._stream.flush()

    def clear(self) -> None:
        """Clear the line for what is written next."""
        if self._is_shown:
            self._stream.write("\r\033[K")
            self._stream.flush()
            self._is_shown = False
