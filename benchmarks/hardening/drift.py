"""The drift warning: how often it is false, and how many rows it takes when it is true.

    python -m benchmarks.hardening.drift [--quick] [--model F.onnx] [--attack "PGD 8/255"] [--save]

Simulated: streams of 100,000 rows at a flag rate within the expected interval and at both of its edges, the
worst that the null hypothesis allows, where at most 1 % of the streams may raise an alarm; and rates outside.
Real: the embedded example, exported (or the file given, made from it), its test images drawn again and again,
and a share of them replaced by attacked ones; once through a session with all observers.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.hardening import drift_attacked as real
from benchmarks.hardening import drift_simulated as simulated
from benchmarks.hardening.drift_simulated import ALPHA, ROWS, Delay
from benchmarks.hardening.example import export_example
from benchmarks.hardening.record import Count, Record, finish
from nip_export.demo.example import Example, load_example
from nip_runtime.cli.progress import Progress
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.rates import Rate
from nip_runtime.observe import Expected

CALIBRATED: Final = Rate(23, 1500)
"""Flagged benign images, as measured on the example's calibration images."""
FACTORS: Final = (2.0, 3.0, 5.0, 0.0)
SHARES: Final = (0.02, 0.05, 0.2, 1.0)
LATE: Final = 50_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many streams of each kind."""

    streams: int
    delays: int
    real: int
    attacked_images: int


FULL: Final = Size(streams=2000, delays=200, real=100, attacked_images=200)
QUICK: Final = Size(streams=60, delays=20, real=10, attacked_images=60)


def simulate(size: Size, progress: Progress) -> tuple[list[Count], dict[str, Any]]:
    """Everything that is drawn from a known rate."""
    expected, rng = Expected.from_rate(CALIBRATED), np.random.default_rng(0)
    inside = CALIBRATED.value
    points = {"at the upper edge": expected.high, "at the lower edge": expected.low, "inside": inside}
    counts, details = list[Count](), dict[str, Any]()
    for name, rate in points.items():
        stage = progress(f"False alarms {name}", size.streams)
        found = simulated.false_alarms(expected, rate, streams=size.streams, rng=rng, advance=stage)
        counts.append(
            _false(f"benign streams of {ROWS} rows, flag rate {name} of the interval", found, ALPHA)
        )
    stage = progress("False alarms of measured intervals", size.streams)
    found = simulated.false_alarms_of_measured(
        inside, CALIBRATED.n, streams=size.streams, rng=rng, advance=stage
    )
    what = f"benign streams of {ROWS} rows, the interval measured over {CALIBRATED.n} rows each time"
    counts.append(_false(what, found, 2 * ALPHA))
    for factor in FACTORS:
        for before in (0, LATE):
            stage = progress(f"Delays at {factor:g} times the rate", size.delays)
            change = simulated.Change(benign=inside, before=before, rate=factor * inside)
            delay = simulated.delays(expected, change, streams=size.delays, rng=rng, advance=stage)
            when = f"{factor:g} × the benign rate, after {before} benign rows"
            counts.append(_delay(f"at {when}", delay))
            details[f"delay at {when}"] = str(delay)
            if factor > 1:
                few = max(size.delays // 4, 5)
                plain = simulated.delays_of_one_product(expected, change, streams=few, rng=rng)
                details[f"delay at {when}, of a plain e-process"] = f"{plain}, {plain.found} found"
    return counts, {"interval": str(expected), "alpha": ALPHA} | details


def attack(
    model: Path, example: Example, name: str, size: Size, folder: Path, progress: Progress
) -> tuple[list[Count], dict[str, Any]]:
    """Everything that is images through a file."""
    progress(f"Attacking test images with {name}", 1)
    traffic = real.prepare(model, example, attack=name, images=size.attacked_images, seed=0)
    rng = np.random.default_rng(1)
    manifest = read_artifact(model).manifest
    intervals = {
        "the manifest": Expected.from_manifest(manifest),
        "a manifest before 1.2": Expected.from_manifest(replace(manifest, flag_rate_all=None)),
    }
    counts = [
        Count(
            what="rows of the example's test images flagged, rightly and wrongly classified ones",
            value=int(traffic.benign_flags.sum()),
            of=len(traffic.benign_flags),
        ),
        Count(
            what=f"attacked test images flagged ({name})",
            value=int(traffic.attacked_flags.sum()),
            of=len(traffic.attacked_flags),
        ),
    ]
    details: dict[str, Any] = {"attack": name}
    for basis, expected in intervals.items():
        stage = progress(f"Test images, {basis}", size.real)
        found = real.benign_alarms(traffic, expected, streams=size.real, rng=rng, advance=stage)
        what = f"streams of {ROWS} benign test images, interval from {basis}"
        counts.append(_false(what, found, ALPHA))
        details[f"interval from {basis}"] = str(expected)
        for share in SHARES:
            delay = real.delay_under_attack(traffic, expected, share, streams=size.real, rng=rng)
            what = f"{share:.0%} of the rows attacked, interval from {basis}"
            counts.append(_delay(f"with {what}", delay))
            details[f"delay with {what}"] = f"{delay}, {delay.found} of {size.real} found"
    seen = real.live(model, folder, traffic, intervals["the manifest"], 0.2, rng)
    counts += [
        Count(
            what=f"false warnings of a session over {real.LIVE_ROWS} benign rows",
            value=seen.benign_alarms,
            wanted="none",
            met=seen.benign_alarms == 0,
        ),
        Count(
            what="rows until the warning of a session with 20% of its rows attacked",
            value=-1 if seen.rows is None else seen.rows,
            wanted=f"a warning within {real.LIVE_ROWS} rows",
            met=seen.rows is not None,
        ),
        Count(
            what="lines of its audit file, one per flagged row",
            value=seen.audit_lines,
            of=seen.totals.flagged,
            wanted="all",
            met=seen.audit_lines == seen.totals.flagged,
        ),
    ]
    return counts, details | {"warning": seen.warning}


def _false(what: str, found: Rate, promised: float) -> Count:
    """False alarms; missed if they are significantly more than promised."""
    low, high = found.interval
    return Count(
        what=f"false alarms in {what} (95 % interval {low:.2%} to {high:.2%})",
        value=found.count,
        of=found.n,
        wanted=f"at most {promised:.0%} but for chance",
        met=low <= promised,
    )


def _delay(what: str, delay: Delay) -> Count:
    """The median, or where most streams raised no alarm in time, how many did."""
    median = delay.quantile(0.5)
    if median <= ROWS:
        return Count(what=f"median rows until the warning {what}", value=median, unit="rows")
    return Count(what=f"warnings within {ROWS} rows {what}", value=delay.found, of=len(delay.rows))


def measure(size: Size, *, model: Path | None, attack_name: str, command: str, progress: Progress) -> Record:
    """Both parts as one record."""
    counts, details = simulate(size, progress)
    example = load_example()
    with tempfile.TemporaryDirectory(prefix="nip-drift-") as name:
        folder = Path(name)
        if model is None:
            progress("Exporting the example", 1)
            model = export_example(folder / "model.nip.onnx", example)
        more, others = attack(model, example, attack_name, size, folder, progress)
    progress.clear()
    return Record(
        name="drift",
        command=command,
        counts=(*counts, *more),
        details=details | others | {"streams": size.streams, "streams per delay": size.delays},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few streams: about a minute, export included")
    parser.add_argument(
        "--model", type=Path, help="defended file of the embedded example (exported if absent)"
    )
    parser.add_argument("--attack", default="PGD 8/255", help="on the undefended network (PGD 8/255)")
    parser.add_argument(
        "--save", action="store_true", help="write the counts to benchmarks/results/hardening"
    )
    args = parser.parse_args(arguments)
    logging.getLogger("nip_runtime").addHandler(logging.NullHandler())  # thousands of warnings are to come
    found = measure(
        QUICK if args.quick else FULL,
        model=args.model,
        attack_name=args.attack,
        command="python -m benchmarks.hardening.drift" + (" --quick" if args.quick else ""),
        progress=Progress(sys.stderr),
    )
    return finish(found, saves=args.save)


if __name__ == "__main__":
    sys.exit(main())
