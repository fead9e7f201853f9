"""The command."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.hardening import signing
from benchmarks.hardening.model_signing import ModelSigning
from benchmarks.hardening.record import Count, Record, command_line, finish
from benchmarks.hardening.signing.cross import FORMS, GOLDENS, POLICIES, SIZES, cross_check, never_laxer
from benchmarks.hardening.signing.refusals import files_refused, refused, sessions_refused
from benchmarks.hardening.signing.tally import Tally
from benchmarks.hardening.tampering import harmless, tampered
from nip_runtime.cli.progress import Progress
from nip_runtime.file.signing import bundle_path, check_signature, sign_content
from nip_runtime.file.signing.keys import read_private_key

_TIMED_BYTES: Final = 64 << 20
_FIRST_CHECK: Final = """
import sys, time
from pathlib import Path
import nip_runtime.session
content = Path(sys.argv[1]).read_bytes()
began = time.perf_counter()
from nip_runtime.file.signing import check_signature
check_signature(content, origin=Path(sys.argv[1]), public_key=sys.argv[2])
print(time.perf_counter() - began)
"""


def measure(folder: Path, *, quick: bool) -> Record:
    """Count everything."""
    done = Progress(sys.stderr)("Checking signatures", 6)
    environment = folder / "environment"
    environment.mkdir()
    tool = ModelSigning(environment)
    done(1)
    ours, theirs = cross_check(tool, folder)
    done(1)
    content = (GOLDENS / "guarded.onnx").read_bytes()
    key = read_private_key(folder / f"{FORMS[0]}.pem")
    bundle, _ = sign_content(content, name="guarded.onnx", key=key)
    bundle_path(folder / "guarded.onnx").write_bytes(bundle)
    same = [*harmless(bundle)]
    few = [*tampered(bundle, key, values=1)]
    bundles = refused(content, tampered(bundle, key, values=2 if quick else 255), key.public)
    done(1)
    sessions = sessions_refused(content, few, folder)
    done(1)
    files = files_refused(content, bundle, key.public, step=101 if quick else 1)
    done(1)
    agreed, stricter = never_laxer(tool, content, same + few, key.public, folder)
    done(1)
    taken = Tally()
    for variant in same:
        taken.add(variant.what, right=refused(content, [variant], key.public).right == 0)
    tallies = (ours, theirs, bundles, sessions, files, agreed, taken)
    return Record(
        name="signing",
        command=command_line("signing"),
        counts=(
            ours.count("bundles of `nip sign` that `model_signing` 1.1.1 verifies"),
            theirs.count("bundles of `model_signing` 1.1.1 that `nip verify` takes"),
            bundles.count("bundles tampered with, refused with one clear error"),
            sessions.count("bundles tampered with, on which no session opens"),
            files.count("changed files refused under a good bundle"),
            agreed.count("bundles that are refused, or that `model_signing` takes too"),
            Count(what="of these refused here and taken by `model_signing`", value=stricter, of=agreed.tried),
            taken.count("bundles that say the same in other bytes, taken"),
            *timings(folder),
        ),
        details={
            "bytes of the bundle": len(bundle),
            "bytes of the changed file": len(content),
            "key forms": FORMS,
            "files": [f"{policy}.onnx" for policy in POLICIES] + [f"{size} bytes" for size in SIZES],
            "went wrong": [what for tally in tallies for what in tally.wrong],
        },
    )


def timings(folder: Path) -> tuple[Count, ...]:
    """What a check costs; no promise."""
    model, public = folder / "guarded.onnx", folder / "key.pub"
    first = []
    for _ in range(5):
        command = (sys.executable, "-c", _FIRST_CHECK, model, public)
        first.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    large = folder / "large.bin"
    content = os.urandom(_TIMED_BYTES)
    made, _ = sign_content(content, name=large.name, key=read_private_key(folder / f"{FORMS[0]}.pem"))
    bundle_path(large).write_bytes(made)
    later = []
    for _ in range(5):
        began = time.perf_counter()
        check_signature(content, origin=large, public_key=public)
        later.append(time.perf_counter() - began)
    return (
        Count(
            what="first check in a process, cryptography's import included",
            value=round(1000 * statistics.median(first), 1),
            unit="ms",
        ),
        Count(
            what=f"a later check of {_TIMED_BYTES >> 20} MiB",
            value=round(1000 * statistics.median(later), 1),
            unit="ms",
        ),
    )


def main() -> int:
    """Run the command; 1 if a try went wrong."""
    parser = argparse.ArgumentParser(
        description=signing.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a hundredth of the changed bytes")
    parser.add_argument(
        "--save", action="store_true", help="write the record to benchmarks/results/hardening"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = measure(Path(folder), quick=arguments.quick)
    return finish(record, saves=arguments.save)


if __name__ == "__main__":
    sys.exit(main())
