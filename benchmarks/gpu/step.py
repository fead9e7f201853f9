"""What every step's process is told, and how it is started."""

from __future__ import annotations

import argparse
import os
import site
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from benchmarks.gpu.material import SITE_FOLDER, Material, read_all
from benchmarks.gpu.plan import PLANS, Plan, PlanName, Step, Turn
from benchmarks.gpu.results import Book

ROOT: Final = Path(__file__).resolve().parents[2]
CPU: Final = "cpu"
_LIBRARIES: Final = "LD_LIBRARY_PATH"
_USERS_LIBRARIES: Final = "NIP_GPU_USERS_LIBRARY_PATH"


@dataclass(frozen=True)
class Task:
    """One step's process.

    Attributes:
        step: which.
        parts: folder of the parts.
        work: folder that they are unpacked into.
        out: folder of the results.
        device: to measure, "cuda:0" or "cpu".
        plan_name: of what to do.
        network: of which, for steps with a process per network.
    """

    step: Step
    parts: Path
    work: Path
    out: Path
    device: str
    plan_name: PlanName
    network: str | None

    @property
    def plan(self) -> Plan:
        """How much to do."""
        return PLANS[self.plan_name]

    @property
    def on_gpu(self) -> bool:
        """Whether the device is no CPU."""
        return self.device != CPU

    @cached_property
    def networks(self) -> tuple[Material, ...]:
        """Those of the plan that the parts hold, in its order."""
        found = read_all(self.work)
        wanted = self.plan.network_limits_s if self.network is None else (self.network,)
        return tuple(found[name] for name in wanted if name in found)

    def book(self) -> Book:
        """Where the step's results go."""
        return Book(self.out, self.step)


def command(turn: Turn, *, parts: Path, work: Path, out: Path, device: str, plan: PlanName) -> list[str]:
    """What starts a step."""
    return [
        *(sys.executable, "-m", f"benchmarks.gpu.steps.{turn.step}"),
        *("--parts", str(parts), "--work", str(work), "--out", str(out)),
        *("--device", device, "--plan", plan),
        *(() if turn.network is None else ("--network", turn.network)),
    ]


def cuda_folders() -> list[str]:
    """Libraries of CUDA that this Python's packages bring."""
    return [str(found) for place in site.getsitepackages() for found in Path(place).glob("nvidia/*/lib")]


def environment(work: Path) -> dict[str, str]:
    """The environment of a step: the unpacked onnxruntime and this checkout come first.

    CUDA's libraries are on the loader's path, so that much is measured even where the product does not find
    them by itself; whether it does, ``nip doctor`` says, which runs with :func:`as_users`.
    """
    folders = [work / SITE_FOLDER, ROOT, ROOT / "export"]
    before = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([*map(str, folders), *([before] if before else [])])
    libraries = os.environ.get(_LIBRARIES, "")
    return os.environ | {
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        _LIBRARIES: os.pathsep.join([*([libraries] if libraries else []), *cuda_folders()]),
        _USERS_LIBRARIES: libraries,
    }


def as_users() -> dict[str, str]:
    """A step's environment without what was added to the loader's path."""
    return os.environ | {_LIBRARIES: os.environ.get(_USERS_LIBRARIES, "")}


def task(step: Step, arguments: Sequence[str] | None = None) -> Task:
    """Read what :func:`command` wrote."""
    parser = argparse.ArgumentParser(description=f"The step {step} of benchmarks.gpu.run, which starts it.")
    for name in ("parts", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--plan", type=PlanName, required=True)
    parser.add_argument("--network")
    found = parser.parse_args(arguments)
    return Task(step, found.parts, found.work, found.out, found.device, found.plan, found.network)
