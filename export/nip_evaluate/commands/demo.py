"""``nip demo``: the whole way on the embedded example, from a torch network to a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from nip_export.commands.threads import passive_waiting

NAME = "demo"
HELP = "export the embedded example, attack it, and report what the defence did"

_DESCRIPTION = """\
Exports a small Fashion-MNIST classifier to one self-defending ONNX file and evaluates that file on a small
plan: gray-box attacks on the network (T1) and adaptive ones on the whole defence (T4). nip evaluate attacks
harder, from the outside too (T2, T3), and compares with other defences.

Writes model.nip.onnx, plain.onnx, report.html, report.json, summary.json and the examples that nip ui shows.
Finished attacks are kept in DIR/attacks, where a run with the same seed takes them up. Takes two to three
minutes on two cores.

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
    # torch, foolbox and ART take seconds to import, and `nip --help` imports this module.
    from rich.console import Console

    from nip_evaluate.demo.paths import DemoPaths
    from nip_evaluate.demo.run import run_demo
    from nip_evaluate.report.summary import print_summary
    from nip_export.support.progress import progress_bars

    paths = DemoPaths(args.out)
    with progress_bars() as progress:
        evaluation = run_demo(args.out, seed=args.seed, progress=progress)
    print_summary(evaluation, paths)
    said = (
        f"summary: {paths.summary}",
        f"model: {paths.model}",
        f"see it happen: nip ui {paths.model} --report {paths.numbers}",
    )
    Console().print("\n".join(said), soft_wrap=True)
    return 0
