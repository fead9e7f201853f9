"""Measures speed, memory and size of defended files against their targets, in one command.

    python -m benchmarks.speed.run                            # all networks, some 25 minutes on two cores
    python -m benchmarks.speed.run --only mobilenetv2 vit-tiny
    python -m benchmarks.speed.run --quick                    # few rounds, small batches: does it all work?

For every network: every engine and state of the table paired with one plain onnxruntime pass; memory, file
size and opening in fresh processes; what predict adds; what the bank costs; the contenders; the profiler.
Networks whose results stand from the same commit are left out, so that an interrupted run goes on; --again
measures them too. Writes benchmarks/results/speed/NETWORK.json and profile-NETWORK.json (--quick: into
./speed-quick); `python -m benchmarks.speed.table` then writes tables and plots.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch

from benchmarks.speed import measure, opening, profile, results, rivals
from benchmarks.speed.contenders import Kind, can_compile
from benchmarks.speed.files import make_files
from benchmarks.speed.measure import QUICK, Effort
from benchmarks.speed.networks import NETWORKS, Name, Network
from nip_export.support.progress import Progress, progress_bars
from nip_runtime.operate.bench import machine
from nip_runtime.operate.bench.machine import Machine

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PACKAGES: Final = ("torch", "onnx-ir", "adversarial-robustness-toolbox")
QUICK_FOLDER: Final = Path("speed-quick")
ORDER: Final = (
    Name.FASHION_VGG,
    Name.FASHION_RESNET,
    Name.FASHION_VIT,
    Name.MOBILENETV2,
    Name.VIT_TINY,
    Name.RESNET50,
)
"""The quick ones first: if something is wrong, it shows soon."""
WEIGHTS: Final = {Name.MOBILENETV2: 4.0, Name.VIT_TINY: 5.0, Name.RESNET50: 9.0}
"""How long networks take beside a small one, for the time left."""
ALL_CORES_BATCH: Final = 16


def commit() -> str:
    """The commit that is measured, marked if anything but results differs from it."""
    described = _git("rev-parse", "--short=12", "HEAD").strip()
    changed = _git("status", "--porcelain", "--", "nip_runtime", "export", "benchmarks/speed").strip()
    return f"{described}-dirty" if changed else described


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def measured(name: Name, folder: Path, at: str) -> bool:
    """Whether a network's results stand from the same, clean commit."""
    path = folder / f"{name}.json"
    return path.exists() and not at.endswith("-dirty") and results.read(path).commit == at


def kinds_of(network: Network, *, quick: bool) -> tuple[Kind, ...]:
    """The contenders of a network: ``torch.compile`` only with a compiler, and not of a large one quickly."""
    compiles = can_compile() and not (quick and network.large)
    return tuple(kind for kind in Kind if compiles or kind is not Kind.COMPILED_TWIN)


def measure_network(
    network: Network, *, effort: Effort, quick: bool, at: str, on: Machine, out: Path, progress: Progress
) -> None:
    """Measure one network and write its results."""
    with tempfile.TemporaryDirectory(prefix="nip-speed-") as folder:
        stage = progress(f"{network.title}, files", 1)
        torch.set_num_threads(on.cores)
        files = make_files(network, Path(folder))
        torch.set_num_threads(1)
        stage(1)
        plain, cells = measure.table(files, effort, progress)
        if on.cores > 1:
            batches = [ALL_CORES_BATCH]
            more, wide = measure.table(files, effort, progress, threads=on.cores, batches=batches)
            plain, cells = (*plain, *more), (*cells, *wide)
        result = results.NetworkResult(
            network=network.name,
            parameters=network.parameters,
            quick=quick,
            commit=at,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=on,
            packages={package: version(package) for package in PACKAGES},
            sizes=opening.sizes(files),
            plain=plain,
            cells=cells,
            opened=opening.measure(files, effort, progress),
            overhead=measure.overhead(files, effort, progress),
            bank_share=measure.bank_share(files, effort, progress) if network.large else None,
            auto=opening.auto(files),
            rivals=rivals.measure(files, effort, kinds_of(network, quick=quick), progress),
            screen_rate=files.screen_rate,
        )
        stage = progress(f"{network.title}, profiler", len(effort.profiled_batches))
        profiles: list[profile.Profile] = []
        for batch in effort.profiled_batches:
            profiles += profile.profile_network(files, batch)
            stage(1)
        out.mkdir(parents=True, exist_ok=True)
        profile.write(network.name, profiles, out)
        results.write(result, out)


def time_left(begun: float, done: Sequence[Name], left: Sequence[Name]) -> str:
    """An estimate in words, from how long the finished networks took."""
    spent, behind, ahead = (
        time.monotonic() - begun,
        sum(WEIGHTS.get(name, 1.0) for name in done),
        sum(WEIGHTS.get(name, 1.0) for name in left),
    )
    return f"about {max(1, round(spent * ahead / behind / 60))} min left" if behind and ahead else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [str(name) for name in ORDER]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NETWORK", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="few rounds and small batches")
    parser.add_argument("--again", action="store_true", help="also what this commit has results of")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results are written")
    options = parser.parse_args(arguments)
    out: Path = options.out or (QUICK_FOLDER if options.quick else results.RESULTS)
    effort = QUICK if options.quick else Effort()
    at, on, begun = commit(), machine.describe(), time.monotonic()
    wanted = [name for name in ORDER if options.only is None or name in options.only]
    left = [name for name in wanted if options.again or not measured(name, out, at)]
    for name in wanted:
        if name not in left:
            print(f"{name}: measured at {at} already; --again measures it once more", flush=True)
    done: list[Name] = []
    while left:
        with progress_bars() as progress:
            measure_network(
                NETWORKS[left[0]],
                effort=effort,
                quick=options.quick,
                at=at,
                on=on,
                out=out,
                progress=progress,
            )
        done.append(left.pop(0))
        print(f"{done[-1]}: {out / done[-1]}.json  {time_left(begun, done, left)}".rstrip(), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
