"""``nip demo``: the whole way on the embedded example, from a torch network to a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from nip_export.commands.threads import passive_waiting

NAME = "demo"
HELP = "export the embedded example, attack it, and report what the defence did"

_DESCRIPTION = """\
Exports a small Fashion-MNIST classifier to one self-defending ONNX file, attacks the undefended network with
foolbox, runs benign and attacked images through the file in onnxruntime, attacks the defence itself, and
prints tables of the outcome.

Writes model.nip.onnx, plain.onnx, summary.json and report.html. Takes two to three minutes on two cores.

example:
  nip demo --out nip-demo"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("nip-demo"),
        metavar="DIR",
        help="where to write (default: ./nip-demo)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seeds the export and the attacks (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Run the demo; returns the exit status."""
    passive_waiting()
    # torch and foolbox take seconds to import, and `nip --help` imports this module.
    from rich.console import Console

    from nip_export.demo.run import DemoPaths, run_demo
    from nip_export.demo.table import accuracy_table, adaptive_table, cost_lines
    from nip_export.progress import progress_bars

    with progress_bars() as progress:
        scores = run_demo(args.out, seed=args.seed, progress=progress)
    console = Console()
    console.print(accuracy_table(scores))
    console.print(adaptive_table(scores))
    for line in cost_lines(scores):
        console.print(line, highlight=False, soft_wrap=True)
    paths = DemoPaths(args.out)
    console.print(f"report: {paths.report}\nsummary: {paths.summary}\nmodel: {paths.model}", soft_wrap=True)
    return 0
