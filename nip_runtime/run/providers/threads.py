"""How many cores this process may use: not what the machine has, but what was left to it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


@dataclass(frozen=True, kw_only=True)
class UsableCores:
    """Cores that this process may use, and what each source says.

    Args:
        count: threads worth starting: one per physical core, no more than the quota pays for, at least 1.
        affinity: logical processors in the process's affinity mask.
        physical: physical cores behind these; equal to ``affinity`` where the system does not tell.
        quota_cores: processor time per time that the cgroup allows, in cores; None without a limit.
    """

    count: int
    affinity: int
    physical: int
    quota_cores: float | None

    @property
    def reason(self) -> str:
        """Where ``count`` comes from, in words."""
        if self.quota_cores is not None and self.quota_cores < self.physical:
            return f"cgroup quota of {self.quota_cores:g} cores"
        if self.physical < self.affinity:
            return f"{self.physical} physical cores behind {self.affinity} processors in the affinity mask"
        return "affinity mask"


def usable_cores(root: Path = _ROOT) -> UsableCores:
    """Count the cores that this process may use.

    Hyperthreads count once, as in onnxruntime itself: two threads on one core's vector units gain nothing. A
    quota is rounded down: with one thread more than it pays for, every run ends up throttled.

    Args:
        root: where /proc and /sys are looked for.
    """
    mask = _affinity()
    physical = _physical_cores(mask, root)
    quota = cgroup_quota(root)
    count = physical if quota is None else min(physical, math.floor(quota))
    return UsableCores(count=max(1, count), affinity=len(mask), physical=physical, quota_cores=quota)


def cgroup_quota(root: Path = _ROOT) -> float | None:
    """The smallest processor quota of this process's cgroups, v1 and v2, in cores; None without a limit.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max),
    https://docs.kernel.org/scheduler/sched-bwc.html (cpu.cfs_quota_us).
    """
    quotas = [quota for folder in cgroups("cpu", root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))  # macOS and Windows have no mask that Python shows


def _physical_cores(mask: frozenset[int], root: Path) -> int:
    siblings = set()
    for processor in mask:
        path = root / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
        text = _read(path)
        if not text:
            return len(mask)
        siblings.add(text)
    return max(1, len(siblings))


def cgroups(controller: str, root: Path = _ROOT) -> Iterator[Path]:
    """Folders of the process's cgroups that a controller ("cpu", "memory") can limit, parents up to the mount
    included; v1 and v2."""
    places: dict[str, PurePosixPath] = {}  # the process's place in each controller's tree; "" stands for v2
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            places[name] = PurePosixPath(path)
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = (*after.split(), "", "", "")[:3]
        is_v1 = kind == "cgroup" and controller in options.split(",")
        place = places.get(controller if is_v1 else "")
        if place is None or not (is_v1 or kind == "cgroup2"):
            continue
        mount_root, mount_point = before.split()[3:5]
        mount = root / mount_point.lstrip("/")
        # Inside a container the tree may be mounted from the process's own group downwards.
        inner = place.relative_to(mount_root) if place.is_relative_to(mount_root) else PurePosixPath()
        yield from (mount / part for part in (inner, *inner.parents))


def _quota(folder: Path) -> float | None:
    limit, _, period = _read(folder / "cpu.max").partition(" ")
    if not limit:
        limit, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    try:
        quota, every = int(limit), int(period)
    except ValueError:  # "max", or no such file
        return None
    return quota / every if quota > 0 and every > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
