"""``nip evaluate``: attack an exported file, and report what it stops and what it does not."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nip_export.commands.images import read_labelled
from nip_export.commands.numbers import numbers, size
from nip_export.commands.threads import passive_waiting
from nip_runtime.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from nip_evaluate.given.material import Material
    from nip_evaluate.given.plan import EvaluationPlan
    from nip_export.data import ImageSet

NAME = "evaluate"
HELP = "attack an exported file and report, with intervals, what it stops and what it does not"

QUICK_IMAGES = 200
"""Test images that a quick run attacks unless told otherwise."""

_DESCRIPTION = """\
Attacks the network (T1 gray-box, T2 transfer from another network, T3 queries to the file) and the defence
itself (T4 adaptive), runs benign and attacked images through the exported file in onnxruntime, and compares
with baselines of equal or higher cost.

Writes report.json and report.html into DIR. Finished attacks are kept in DIR/attacks: a run that was stopped
goes on where it was. The full protocol takes hours on a CPU, --quick takes minutes; the report says which."""

_EPILOG = """\
examples:
  nip demo --out nip-demo && nip evaluate nip-demo/model.nip.onnx --example --quick --out evaluation
  nip evaluate --list --quick
  nip evaluate resnet.nip.onnx --model my_nets:resnet --weights resnet.safetensors --data test/ \\
      --export-data benign/ --attacks core --threat t1,t4 --images 500 --out evaluation

DATA as for nip export; test images must be others than those the file was made from. --export-data (and
--calibration, if nip export was given one) are needed for the baselines that are calibrated on benign images
and for the influence plot; without them the report names what was not measured."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="F.onnx", help="file written by nip export; not with --list"
    )
    subject = parser.add_argument_group("what it was made from")
    subject.add_argument(
        "--example", action="store_true", help="the embedded example's network and images, as in nip demo"
    )
    subject.add_argument("--model", metavar="PKG.MOD:FACTORY", help="as for nip export")
    subject.add_argument("--onnx", type=Path, metavar="PLAIN.onnx", help="as for nip export")
    subject.add_argument("--bgr", action="store_true", help="as for nip export")
    subject.add_argument("--weights", type=Path, metavar="FILE", help="as for nip export")
    subject.add_argument("--output", metavar="NAME|INDEX", help="as for nip export")
    subject.add_argument("--data", type=Path, metavar="DATA", help="benign test images with labels")
    subject.add_argument(
        "--export-data", type=Path, metavar="DATA", help="what nip export was given as --data"
    )
    subject.add_argument(
        "--calibration", type=Path, metavar="DATA", help="what nip export was given as --calibration"
    )
    subject.add_argument(
        "--size", type=size, metavar="HxW", help="as for nip export; --preprocess is the file's"
    )
    subject.add_argument(
        "--surrogate", metavar="PKG.MOD:FACTORY", help="another trained network for the same classes, for T2"
    )
    subject.add_argument("--surrogate-weights", type=Path, metavar="FILE", help="its weights")
    plan = parser.add_argument_group("what to do")
    plan.add_argument(
        "--threat", default="t1,t2,t3,t4", metavar="T1,T2,T3,T4", help="threat models (default: all)"
    )
    plan.add_argument(
        "--attacks",
        metavar="NAMES",
        help="gray-box attacks: names, families, or core, quick, all (default: all; with --quick, quick)",
    )
    plan.add_argument(
        "--eps",
        type=numbers,
        metavar="E[,E]",
        help="ε of the L∞ attacks of T1, T2 and T4 instead of their own, such as 4/255,8/255",
    )
    plan.add_argument("--images", type=int, metavar="N", help="attack the first N test images only")
    plan.add_argument("--quick", action="store_true", help="few images and steps: minutes, wide intervals")
    plan.add_argument("--seed", type=int, default=0, metavar="N", help="seeds the attacks (default 0)")
    plan.add_argument("--list", action="store_true", help="list the attacks with their settings and stop")
    parser.add_argument(
        "--out", type=Path, default=Path("nip-evaluation"), metavar="DIR", help="folder to write to"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, or list the attacks; returns the exit status."""
    passive_waiting()
    _check_combination(args)
    # torch, foolbox and ART take seconds to import, and `nip --help` imports this module.
    from nip_evaluate.commands.listing import print_attacks
    from nip_evaluate.given.paths import EvaluationPaths
    from nip_evaluate.report.summary import print_summary
    from nip_evaluate.run import run_evaluation
    from nip_export.support.progress import progress_bars

    plan = _plan(args)
    if args.list:
        print_attacks(plan)
        return 0
    material = _example() if args.example else _given(args)
    with progress_bars() as progress:
        evaluation = run_evaluation(args.file, material, args.out, plan=plan, progress=progress)
    print_summary(evaluation, EvaluationPaths(args.out))
    return 0


def _check_combination(args: argparse.Namespace) -> None:
    if args.list:
        return
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("model", "onnx", "weights", "data", "export_data", "calibration", "surrogate")
        if getattr(args, name) is not None
    ]
    if args.file is None:
        raise InputError.mismatch(
            expected="a file written by nip export", got="none", fix="name it, or pass --list"
        )
    if args.example and given:
        raise InputError.mismatch(
            expected="--example alone, which brings network and images",
            got=f"--example with {', '.join(given)}",
            fix="leave one or the other out",
        )
    if not args.example and ((args.model is None) == (args.onnx is None) or args.data is None):
        raise InputError.mismatch(
            expected="--model or --onnx, and --data (or --example)",
            got=", ".join(given) or "neither",
            fix="name the network that the file was made from, and test images",
        )
    if args.calibration is not None and args.export_data is None:
        raise InputError.mismatch(
            expected="--export-data with --calibration", got="--calibration alone", fix="pass both or neither"
        )
    if args.surrogate_weights is not None and args.surrogate is None:
        raise InputError.mismatch(
            expected="--surrogate with --surrogate-weights", got="the weights alone", fix="pass both"
        )


def _plan(args: argparse.Namespace) -> EvaluationPlan:
    from nip_evaluate.given.plan import EvaluationPlan
    from nip_evaluate.terms.threats import Threat

    threats = []
    for word in args.threat.split(","):
        try:
            threats.append(Threat(word.strip().upper()))
        except ValueError as error:
            raise InputError.mismatch(
                expected="--threat out of t1, t2, t3, t4", got=repr(word), fix="pass for instance t1,t4"
            ) from error
    attacks = args.attacks.split(",") if args.attacks is not None else ["quick" if args.quick else "all"]
    plan = EvaluationPlan(
        threats=tuple(threats),
        attacks=tuple(attacks),
        eps=args.eps,
        images=QUICK_IMAGES if args.quick and args.images is None else args.images,
        quick=args.quick,
        seed=args.seed,
    )
    # Adaptive attackers get no other budget than the rest.
    return plan if args.eps is None else replace(plan, adaptive_eps=args.eps)


def _example() -> Material:
    from nip_evaluate.demo.run import material_of
    from nip_export.demo.example import load_example

    return material_of(load_example())


def _given(args: argparse.Namespace) -> Material:
    from nip_evaluate.given.material import Material
    from nip_export.network.loading import load_model
    from nip_export.onnx_in import from_onnx
    from nip_runtime.file.artifact import read_artifact

    manifest = read_artifact(args.file).manifest
    names, heard = manifest.output.class_names, manifest.input if manifest.input.sound is not None else None

    preprocess = manifest.input.preprocess if args.size is None else None

    def labelled(path: Path) -> ImageSet:
        return read_labelled(path, args.size, names, heard, preprocess=preprocess)

    def read(path: Path | None) -> ImageSet | None:
        return None if path is None else labelled(path)

    surrogate = None
    if args.surrogate is not None:
        surrogate = load_model(args.surrogate, weights=args.surrogate_weights)
    if args.onnx is not None:
        shape = manifest.input.shape
        model: nn.Module = from_onnx(args.onnx, output=args.output, shape=shape, is_bgr=args.bgr)
    else:
        model = load_model(args.model, weights=args.weights)
    return Material(
        model=model,
        test=labelled(args.data),
        surrogate=surrogate,
        profile=read(args.export_data),
        calibration=read(args.calibration),
        output=args.output if args.onnx is None else None,
    )
