"""Batches that fit a budget: measured, halved when memory runs out, and the same answers at every size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nip_export.config import ExportConfig
from nip_export.fit.prepared import images_per_step
from nip_export.support.batches import Batches
from nip_export.support.budget import default_budget, spare_bytes
from nip_runtime.errors import ExportError
from nip_runtime.run.memory import resident_bytes

MIB = 2**20
SMALL = (3, 32, 32)
"""An input of which 256 are few."""


def sizes(batches: Batches, count: int, *, bytes_per_row: int = 0) -> list[int]:
    """Batch sizes of a run whose work really takes so much memory."""
    found: list[int] = []

    def work(rows: slice) -> None:
        np.ones((rows.stop - rows.start) * bytes_per_row, np.uint8)
        found.append(rows.stop - rows.start)

    batches.run(count, work)
    assert sum(found) == count
    return found


def test_work_that_takes_nothing_soon_runs_in_the_largest_batches() -> None:
    assert sizes(Batches(256, SMALL), 600)[-2] == 256


def test_photographs_are_not_taken_more_at_once_than_a_cpu_is_quick_with() -> None:
    assert max(sizes(Batches(256, (3, 224, 224)), 100)) == 6
    assert max(sizes(Batches(256, (3, 1000, 1000)), 100)) == 4
    assert max(sizes(Batches(2, (3, 224, 224)), 100)) == 2


def test_a_size_that_was_found_is_kept_from_run_to_run() -> None:
    batches = Batches(64, SMALL)
    sizes(batches, 200)
    assert sizes(batches, 128) == [64, 64]


def test_batches_stay_within_the_budget() -> None:
    batches = Batches(256, SMALL, memory=resident_bytes() + 100 * MIB)
    found = sizes(batches, 200, bytes_per_row=4 * MIB)
    # 100 MiB hold 25 such rows; the largest power of two below is 16.
    assert max(found) in (8, 16)


def test_memory_that_runs_out_halves_the_batch_and_repeats_it() -> None:
    done: list[int] = []

    def work(rows: slice) -> None:
        if rows.stop - rows.start > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        done.extend(range(rows.start, rows.stop))

    Batches(64, SMALL).run(50, work)
    assert done == list(range(50))


def test_one_image_that_does_not_fit_is_said_in_a_sentence() -> None:
    def work(rows: slice) -> None:
        raise MemoryError("Unable to allocate 9.0 TiB")

    with pytest.raises(ExportError, match=r"not even one image fits into memory.*9\.0 TiB; free memory"):
        Batches(64, SMALL).run(50, work)


def test_other_errors_pass_as_they_are() -> None:
    def work(rows: slice) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        Batches(64, SMALL).run(50, work)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "max", "memory.current": "5"}, None),
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 1\ninactive_file 90\n"}, 390),
        (
            {
                "memory.limit_in_bytes": "1000",
                "memory.usage_in_bytes": "700",
                "memory.stat": "inactive_file 1\ntotal_inactive_file 50\n",
            },
            350,
        ),
    ],
    ids=["no limit", "v2", "v1"],
)
def test_the_limit_of_the_cgroup_counts(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in {
        "proc/self/cgroup": "0::/job\n" if "memory.max" in files else "4:memory:/job\n",
        "proc/self/mountinfo": "30 24 0:26 / /cg rw - "
        + ("cgroup2 cgroup2 rw\n" if "memory.max" in files else "cgroup cgroup rw,memory\n"),
        "proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   8 kB\n",
        **{f"cg/job/{name}": text for name, text in files.items()},
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert spare_bytes(tmp_path) == (8192 if expected is None else expected)


def test_without_a_word_a_process_takes_no_more_than_three_gibibytes() -> None:
    assert 0 < default_budget() <= 3 * 2**30


def test_a_budget_in_the_wrong_unit_is_refused() -> None:
    with pytest.raises(ExportError, match="memory: expected a number of bytes, at least 1048576"):
        ExportConfig(memory=4)


@pytest.mark.parametrize(("rows", "expected"), [(1, 32), (10, 32), (50, 150), (1000, 256)])
def test_a_step_of_the_ascent_sees_every_class_that_has_a_perturbation(rows: int, expected: int) -> None:
    assert images_per_step(rows, ExportConfig()) == expected


LIMITED = """
import resource, sys
import numpy as np, torch
from torch import nn
from nip_export.network.tapped import TappedNetwork
from nip_export.network.pooling import TapKind
from nip_export.network.plan import Tap
from nip_export.network.run import TapCells
from nip_export.fit.profiles import influence_profiles

torch.set_num_threads(1)
torch.manual_seed(0)
layers = nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 64 * 64, 2)
model = nn.Sequential(*layers).eval()
grid = TapCells(Tap("0", TapKind.MAP2D, (64, 64, 64)), 1)
network = TappedNetwork(model, ["0"], mean=None, std=None)
inputs = np.random.default_rng(0).random((70, 1, 64, 64), dtype=np.float32)
labels = np.arange(70) % 2

def profile(memory):
    return influence_profiles(network, inputs, labels, [grid], classes=2, top_k=5, batch_size=64,
                              device=torch.device("cpu"), memory=memory)["0"].influence

plenty = profile(2**40)
spare = 60 * 2**20
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + spare, resource.RLIM_INFINITY))
short = profile(2**40)
print(np.abs(short - plenty).max() <= 1e-5 * np.abs(plenty).max())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is Linux's")
def test_gradients_go_on_in_smaller_batches_where_memory_really_runs_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
    assert "memory ran out at" in done.stderr
