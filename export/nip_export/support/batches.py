"""Work in batches whose size is found by measuring: as large as the memory budget allows, and no larger."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import torch

from nip_export.support.budget import Meter, default_budget
from nip_export.support.progress import Advance
from nip_runtime.errors import ExportError
from nip_runtime.run.runners.memory import out_of_memory

_log = logging.getLogger(__name__)
_CPU = torch.device("cpu")

FIRST = 4
"""Rows of the first batch, which is measured."""
STEP = 4
"""By what a batch may exceed the largest that was measured."""
BLIND = 32
"""Rows of a batch where the system does not tell what a process holds."""
MOST_BYTES = 4 << 20
"""What the inputs of a batch take on a CPU, at most. Activations are several times as large; once one of them
exceeds what the C library keeps, its memory is handed back and cleared anew at every layer, and a photograph
in a batch of 32 takes 1.3 times as long as in one of 8, with gradients 1.6 times."""


class Batches:
    """How much is done at once: what the first batches show, remembered from run to run.

    Args:
        most: rows of the largest batch.
        row: per-sample shape of the float32 inputs.
        memory: bytes that this process may hold at its peak; None: see :func:`default_budget`.
        device: where the work is done.
    """

    def __init__(
        self, most: int, row: Sequence[int], *, memory: int | None = None, device: torch.device = _CPU
    ) -> None:
        self._device = device
        if device.type == "cpu":
            most = min(most, max(FIRST, MOST_BYTES // (4 * max(math.prod(row), 1))))
        self._ceiling, self._size = most, min(FIRST, most)
        budget = default_budget() if memory is None else memory
        self._meter = Meter(device, budget) if most > FIRST else None

    def run(self, count: int, work: Callable[[slice], None], advance: Advance | None = None) -> None:
        """Call `work` with one slice after another until `count` rows are done.

        The first batches are measured, and the following grow as long as they fit into the memory. When that
        runs out nevertheless, the batch is done again in halves.

        Args:
            count: rows in all.
            work: does the rows of a slice, leaving nothing behind when it fails.
            advance: called with the number of rows done.

        Raises:
            ExportError: not even one row fits.
        """
        done = 0
        while done < count:
            rows = slice(done, min(done + self._size, count))
            if self._meter is not None:
                self._meter.begin()
            try:
                work(rows)
            except Exception as error:  # torch's and onnxruntime's share no base class of their own
                self._halve(rows.stop - rows.start, error)
                continue
            done = rows.stop
            if self._meter is not None and rows.stop - rows.start == self._size:
                self._learn(self._meter)
            if advance is not None:
                advance(rows.stop - rows.start)

    def _learn(self, meter: Meter) -> None:
        """Choose the size of the next batches by what the last one took."""
        taken = meter.taken()
        if taken is None:
            self._size, self._meter = min(self._ceiling, BLIND), None
            return
        fitting = meter.room() * self._size // max(taken, 1)
        # A power of two, so that it seldom depends on what else the machine does.
        found = min(self._ceiling, STEP * self._size, 1 << max(0, fitting.bit_length() - 1))
        if found < self._size:
            self._ceiling = found
        if found == self._size:  # nothing is left to learn
            self._meter = None
        self._size = found

    def _halve(self, count: int, error: Exception) -> None:
        if out_of_memory(error) is None:
            raise error
        if count == 1:
            raise ExportError(
                "not even one image fits into memory: expected room for its activations and gradients, got "
                f"{' '.join(str(error).split())[:200]}; free memory, or export on a larger machine"
            ) from error
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._size = self._ceiling = count // 2
        _log.warning("memory ran out at %d images a batch: going on with %d", count, count // 2)
