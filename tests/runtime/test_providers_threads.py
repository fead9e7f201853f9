from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nip_runtime.run.providers import UsableCores, usable_cores
from nip_runtime.run.providers.threads import cgroup_quota

V2_MOUNT = "31 23 0:28 {inner} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "25 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 {inner} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
)


def machine(root: Path, *, cgroup: str, mounts: str, files: dict[str, str], inner: str = "/") -> Path:
    files = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts.format(inner=inner), **files}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({"a/b": "max 100000\n"}, None),
        ({"a/b": "150000 100000\n"}, 1.5),
        ({"a/b": "max 100000\n", "a": "400000 200000\n"}, 2.0),
        ({"a/b": "300000 100000\n", "a": "50000 100000\n", "": "800000 100000\n"}, 0.5),
        ({}, None),
        ({"a/b": "nonsense"}, None),
    ],
)
def test_the_smallest_v2_limit_up_the_tree_counts(
    tmp_path: Path, limits: dict[str, str], quota: float | None
) -> None:
    files = {str(Path("sys/fs/cgroup") / folder / "cpu.max"): text for folder, text in limits.items()}
    root = machine(tmp_path, cgroup="0::/a/b\n", mounts=V2_MOUNT, files=files)
    assert cgroup_quota(root) == quota


@pytest.mark.parametrize(
    ("place", "inner", "folder"),
    [
        ("/docker/4f1", "/", "docker/4f1"),
        ("/docker/4f1", "/docker/4f1", ""),  # mounted from the container's own group downwards
        ("/kubepods/pod1/4f1", "/kubepods/pod1", "4f1"),
        ("/docker/4f1", "/another", ""),  # a place that the mount does not show
    ],
)
def test_v1_limits_are_found_in_containers(tmp_path: Path, place: str, inner: str, folder: str) -> None:
    cgroup = f"12:cpu,cpuacct:{place}\n5:cpuset:/\n1:name=systemd:/\n0::/\n"
    base = Path("sys/fs/cgroup/cpu,cpuacct") / folder
    files = {str(base / "cpu.cfs_quota_us"): "250000\n", str(base / "cpu.cfs_period_us"): "100000\n"}
    root = machine(tmp_path, cgroup=cgroup, mounts=V1_MOUNTS, files=files, inner=inner)
    assert cgroup_quota(root) == 2.5


def test_v1_without_a_limit(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/cpu,cpuacct/"
    files = {f"{base}cpu.cfs_quota_us": "-1\n", f"{base}cpu.cfs_period_us": "100000\n"}
    assert cgroup_quota(machine(tmp_path, cgroup="4:cpu:/\n", mounts=V1_MOUNTS, files=files)) is None


def test_a_system_without_cgroups(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path) is None
    assert usable_cores(tmp_path).count >= 1


def test_quotas_round_down_and_never_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nip_runtime.run.providers.threads._affinity", lambda: frozenset(range(8)))
    for number, (limit, count) in enumerate({"350000": 3, "50000": 1, "900000": 8, "max": 8}.items()):
        files = {"sys/fs/cgroup/cpu.max": f"{limit} 100000\n"}
        root = machine(tmp_path / str(number), cgroup="0::/\n", mounts=V2_MOUNT, files=files)
        assert usable_cores(root).count == count
    assert usable_cores(tmp_path / "0").reason == "cgroup quota of 3.5 cores"
    assert usable_cores(tmp_path / "3").reason == "affinity mask"


def test_hyperthreads_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nip_runtime.run.providers.threads._affinity", lambda: frozenset({0, 1, 4, 5}))
    for processor, siblings in {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}.items():
        path = tmp_path / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text(siblings + "\n")
    cores = usable_cores(tmp_path)
    assert cores == UsableCores(count=2, affinity=4, physical=2, quota_cores=None)
    assert cores.reason == "2 physical cores behind 4 processors in the affinity mask"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_a_real_mask_is_seen() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from nip_runtime.run.providers import usable_cores\n"
        "print(usable_cores().affinity, usable_cores().count)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
