"""What is measured of CIFAR-10 files that `benchmarks.robustness.run` has left in WORK: one command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.markdown import Block, add_check, update
from benchmarks.robustness.run import MAIN, Folders
from nip_export.demo.build_assets import DATA_DIR
from nip_runtime.support.writing import write_whole

README = Path(__file__).resolve().parent.parent / "README.md"
RESULTS = Path(__file__).resolve().parent.parent / "results"

Results = dict[str, Any]
"""What was measured, by network."""


@dataclass(frozen=True)
class Afterwards:
    """A measurement of files of 1.5 points, and its table in benchmarks/README.md.

    Attributes:
        results: where it is kept.
        block: where its table stands.
        lines: the table of all results.
        measured: what is new of a network's file, by the name it has in the table.
    """

    results: Path
    block: Block
    lines: Callable[[Results], Sequence[str]]
    measured: Callable[[Folders, str, Path, argparse.Namespace], Mapping[str, Any]]

    def read(self) -> Results:
        """What was measured so far."""
        found: Results = json.loads(self.results.read_text(encoding="utf-8"))
        return found

    def main(self, parser: argparse.ArgumentParser, arguments: list[str] | None) -> int:
        """Measure where --work is given, then write or check the table; `parser` has further options."""
        parser.add_argument(
            "--work", type=Path, help="folder of weights and files; else only the table is written"
        )
        parser.add_argument("--cifar", type=Path, help="folder of cifar10-test.npz and weights/")
        parser.add_argument("--networks", nargs="+", default=["cifar-resnet20"])
        add_check(parser)
        options = parser.parse_args(arguments)
        if (options.work is None) != (options.cifar is None):
            parser.error("expected --work and --cifar together, got one of them")
        if options.work is not None:
            torch.set_num_threads(1)
            folders = Folders(options.work, DATA_DIR, options.cifar)
            results = self.read() if self.results.exists() else {}
            for network in options.networks:
                path = options.work / f"{network}-{MAIN}.nip.onnx"
                if not path.is_file():
                    parser.error(
                        f"{path} is absent; run benchmarks.robustness.run --networks {network} first"
                    )
                results |= self.measured(folders, network, path, options)
            write_whole(self.results, (json.dumps(results, indent=2) + "\n").encode())
        table = {README: self.lines(self.read())}
        return update(self.block, table, check=options.check, source=str(self.results))
