"""Makes the parts that a bare machine with a GPU lacks; run where pip reaches a registry.

    python -m benchmarks.gpu.prepare --out build/gpu-parts                # everything: a quarter of an hour
    python -m benchmarks.gpu.prepare --out build/gpu-parts --work WORK    # vgg-1, resnet-1, vit-1 of WORK
    python -m benchmarks.gpu.prepare --out tiny --own-runtime --only fashion-vgg --part-mib 4

Needs nothing but `make .venv/.installed-dev`. The parts hold the wheel of onnxruntime-gpu, defended files in
fp32, fp16 and int8, images, and the answers that the CPU gives to them. A precision that the exporter refuses
for a network is left out, and the reason printed and kept in manifest.json. Without --work the Fashion-MNIST
networks are the two that the example embeds.
--own-runtime packs this environment's onnxruntime instead, for a dry run.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.gpu import wheel
from benchmarks.gpu.material import SITE_FOLDER
from benchmarks.gpu.networks import TRAINED, available, build, weights_of
from benchmarks.gpu.parts import Absent, Manifest, pack
from benchmarks.gpu.plan import PART_BYTES
from benchmarks.speed.networks import Name
from nip_runtime.errors import NipError
from nip_runtime.file.manifest import Precision

ROOT: Final = Path(__file__).resolve().parents[2]
MIB: Final = 2**20


def commit() -> str:
    """The checkout's commit, "unknown" outside one."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def prepare(
    out: Path,
    *,
    work: Path | None = None,
    only: Sequence[Name] | None = None,
    precisions: tuple[Precision, ...] = tuple(Precision),
    own_runtime: bool = False,
    wheel_path: Path | None = None,
    part_bytes: int = PART_BYTES,
) -> Manifest:
    """Make all parts in `out`; says on standard output what it does."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nip-gpu-") as temporary:
        source = Path(temporary) / "source"
        site = source / SITE_FOLDER
        site.mkdir(parents=True)
        if own_runtime:
            absent = [*wheel.install_own(site)]
        else:
            fetched = wheel.download(Path(temporary)) if wheel_path is None else wheel_path
            absent = [*wheel.install_wheel(fetched, site)]
            say(f"{fetched.name}: {fetched.stat().st_size / 1e6:.1f} MB")
        for gone in absent:
            say(f"dropped {gone.what}: {gone.why}")
        names = [name for name in available(work) if only is None or name in only]
        for name in names:
            if name in TRAINED and work is not None and weights_of(name, work) is None:
                say(f"{name}: no trained weights in {work}; the embedded example's stand in")
            absent += build(name, source, work=work, precisions=precisions, say=say)
        missing = [name for name in (only or Name) if name not in names]
        absent += [Absent(name, "no trained weights: give --work") for name in missing]
        say("packing")
        manifest = pack(
            source,
            out,
            part_bytes=part_bytes,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=commit(),
            runtime="this environment's onnxruntime" if own_runtime else f"{wheel.PACKAGE} {wheel.VERSION}",
            left_out=absent,
            quick=own_runtime,
        )
    whole, packed = (sum(piece.size_bytes for piece in pieces) for pieces in (manifest.files, manifest.parts))
    for part in manifest.parts:
        say(f"{part.name}: {part.size_bytes / MIB:.1f} MiB")
    say(
        f"{len(manifest.parts)} parts, {packed / MIB:.1f} MiB,"
        f" of {whole / MIB:.1f} MiB in {len(manifest.files)} files"
    )
    return manifest


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [str(name) for name in Name]
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where parts are written")
    parser.add_argument("--work", type=Path, metavar="WORK", help="folder of benchmarks.robustness.train")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NETWORK", help=", ".join(names))
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the wheel, if it is there already")
    parser.add_argument(
        "--own-runtime", action="store_true", help="this environment's onnxruntime instead, for a dry run"
    )
    parser.add_argument(
        "--part-mib",
        type=float,
        default=PART_BYTES / MIB,
        metavar="MIB",
        help="size of a part; with the checkout it must travel within 64 (default: %(default)g)",
    )
    options = parser.parse_args(arguments)
    try:
        prepare(
            options.out,
            work=options.work,
            only=None if options.only is None else [Name(name) for name in options.only],
            own_runtime=options.own_runtime,
            wheel_path=options.wheel,
            part_bytes=int(options.part_mib * MIB),
        )
    except NipError as error:
        print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
