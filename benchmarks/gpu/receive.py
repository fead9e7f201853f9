"""Keeps the parts that a transfer brought, outside the checkout, until all are there.

    python -m benchmarks.gpu.receive build/gpu-parts --stash ../nip-gpu-parts

For a machine to which files travel in pieces of at most 64 MiB, each of which may replace what the last one
brought. Checks every part that came against manifest.json, which comes with each piece, and says which are
missing; exit code 0 if none is, 3 if some are to come, 2 if one is damaged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.parts import MANIFEST, check_part, read_manifest
from nip_runtime.errors import NipError
from nip_runtime.support.writing import write_whole

TO_COME = 3


def receive(source: Path, stash: Path) -> tuple[str, ...]:
    """Move the parts in `source` to `stash`; gives the names of those that are still to come.

    Raises:
        InputError: there is no manifest, or a part is damaged (named).
    """
    manifest = read_manifest(source)
    stash.mkdir(parents=True, exist_ok=True)
    content = (source / MANIFEST).read_bytes()
    kept = stash / MANIFEST
    if kept.exists() and kept.read_bytes() != content:  # parts of another set are of no use
        for old in stash.iterdir():
            old.unlink()
    write_whole(kept, content)
    for part in manifest.parts:
        if (source / part.name).exists():
            write_whole(stash / part.name, check_part(source, part))
    return tuple(part.name for part in manifest.parts if not (stash / part.name).exists())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="FOLDER", help="where the parts came")
    parser.add_argument("--stash", type=Path, required=True, metavar="FOLDER", help="where they are kept")
    told = parser.parse_args(arguments)
    try:
        missing = receive(told.source, told.stash)
    except NipError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"to come: {', '.join(missing)}" if missing else "all parts are there")
    return TO_COME if missing else 0


if __name__ == "__main__":
    sys.exit(main())
