"""How much memory an export may take: what the user says, or what the machine can well spare."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

from nip_runtime.errors import InputError
from nip_runtime.run.memory import forget_peak, peak_bytes, resident_bytes, trim
from nip_runtime.run.providers.threads import cgroups

COMFORT: Final = 3 * 2**30
"""Without a word from the user, no process grows beyond this: larger batches gain nothing on CPUs."""
LARGEST: Final = 2**30
"""What one batch may take of it on a CPU. Measured with EfficientNet-Lite0: gradients of 8 to 16 images at
once take least time per image; from 1.8 GB a batch on, the kernel takes twice as long to hand out pages."""
_ROOT: Final = Path("/")
_AVAILABLE: Final = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)
_RECLAIMABLE: Final = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.MULTILINE)


def spare_bytes(root: Path = _ROOT) -> int | None:
    """Memory that this process may still take: the machine's, or what its cgroups leave; None if unknown.

    Pages of files that the kernel would give up count as free.

    Args:
        root: where /proc and /sys are looked for.
    """
    found = [left for folder in cgroups("memory", root) if (left := _left(folder)) is not None]
    with suppress(OSError):
        available = _AVAILABLE.search((root / "proc/meminfo").read_text(encoding="ascii"))
        if available is not None:
            found.append(int(available[1]) * 1024)
    return max(0, min(found)) if found else None


def _left(folder: Path) -> int | None:
    """What a cgroup's limit leaves, v2 or v1; None without a limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        # "max" is no number, and says that there is no limit.
        with suppress(OSError, ValueError):
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
            reclaimable = _RECLAIMABLE.findall((folder / "memory.stat").read_text())
            return left + max(map(int, reclaimable), default=0)  # v1 counts groups below apart
    return None


def default_budget() -> int:
    """What this process may hold in all, in bytes: `COMFORT`, or half of what is left where that is less."""
    spare = spare_bytes()
    return COMFORT if spare is None else min(COMFORT, resident_bytes() + spare // 2)


class Meter:
    """Measures what work on a device takes at its peak, beyond what was held before.

    Args:
        device: where the work is done.
        budget: bytes that this process may hold on the host; a CUDA device's own free memory counts there.
    """

    def __init__(self, device: torch.device, budget: int) -> None:
        self._device, self._budget = device, budget
        self._held = 0
        if device.type == "cpu":
            trim()  # or freed pages would hide what the work takes

    def begin(self) -> None:
        """Forget the peak so far."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._held = torch.cuda.memory_allocated(self._device)
        elif self._device.type == "cpu":
            with suppress(InputError):
                forget_peak()
                self._held = resident_bytes()

    def taken(self) -> int | None:
        """Bytes beyond what was held at :meth:`begin`; None where the system does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device)) - self._held
        if self._device.type != "cpu":
            return None
        with suppress(InputError):
            return max(0, peak_bytes() - self._held)
        return None

    def room(self) -> int:
        """Bytes that further work may take."""
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._device)
            cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
            return int(free + cached) * 9 // 10
        return min(LARGEST, max(0, self._budget - resident_bytes()))
