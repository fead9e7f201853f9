"""Flagged rows as lines of JSON at the end of a file."""

from __future__ import annotations

import json
import logging
import os
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from nip_runtime.errors import InputError
from nip_runtime.observe.audit import RowCounter, described, flagged_rows
from nip_runtime.observe.forks import restart_in_children
from nip_runtime.result import Prediction

_log = logging.getLogger(__name__)

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)


class AuditFile:
    """An observer that appends one line of JSON per flagged or refused row: never a pixel.

        {"time": "2026-05-04T09:30:00.123+00:00", "row": 2, "index": 1203, "suspicion": 0.998,
         "reason": "corrected", "label": 3, "label_name": "Dress", "raw_label": 6, "raw_label_name": "Shirt",
         "candidate": 3, "candidate_name": "Dress"}

    The lines of an answer are one write at the end of the file, so those of several processes on one machine
    do not mix. What cannot be written (a full disk) is counted in :attr:`lost`, logged once, and delays
    nobody; a line that the disk cut off is counted as lost and stands alone, so that the lines behind it are
    whole. The file only grows: rotate it with a tool that copies and truncates.

    Pickled, it opens its file again where it is unpickled, and numbers rows from 0.

    Args:
        path: the file, made if it is not there.
        class_names: in the order of the labels; ``session.manifest.output.class_names``.

    Raises:
        InputError: if the file can't be opened for writing.
    """

    def __init__(self, path: str | Path, *, class_names: tuple[str, ...] | None = None) -> None:
        self._path, self._names = Path(path).absolute(), class_names
        self._rows = RowCounter()
        try:
            self._file: int | None = os.open(self._path, _FLAGS, 0o666)
            self._closing = weakref.finalize(self, os.close, self._file)
        except OSError as error:
            raise InputError.mismatch(
                expected=f"a file that can be written at {self._path}",
                got=error.strerror or str(error),
                fix="create its folder, or name another file",
            ) from error
        self._has_logged = False
        self.restart()
        restart_in_children(self)

    def restart(self) -> None:
        """Count lost lines from 0; the file goes on."""
        self._lock = threading.Lock()
        self._lost = 0
        self._is_torn = False

    @property
    def path(self) -> Path:
        """Absolute path of the file."""
        return self._path

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._lost

    def observe(self, prediction: Prediction, *, duration_s: float) -> None:
        """Append the flagged rows."""
        lines = [
            json.dumps(described(row, self._names), ensure_ascii=False)
            for row in flagged_rows(prediction, before=self._rows.take(len(prediction)))
        ]
        if lines:
            with self._lock:
                error = self._append("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
                is_first = error is not None and not self._has_logged
                self._has_logged |= is_first
            if is_first:
                _log.error(
                    "cannot write the audit file %s: %s; lost lines are counted, no more of them are logged",
                    self._path,
                    error,
                )

    def close(self) -> None:
        """Close the file; what comes later is lost and counted. Closing twice is harmless."""
        with self._lock:
            self._file = None
            self._closing()

    def _append(self, content: bytes) -> str | None:
        """Write it all; returns what went wrong, if something did."""
        if self._file is None:
            self._lost += content.count(b"\n")
            return "it is closed"
        left = memoryview(b"\n" + content if self._is_torn else content)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            written = len(content) - len(left)  # −1: not even the newline that ends the torn line
            self._lost += bytes(left).count(b"\n") - (written < 0)
            if written >= 0:
                self._is_torn = written > 0 and content[written - 1 : written] != b"\n"
            return error.strerror or str(error)
        self._is_torn = False
        return None

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
        return _rebuild, (self._path, self._names)


def _rebuild(path: Path, class_names: tuple[str, ...] | None) -> AuditFile:
    return AuditFile(path, class_names=class_names)
