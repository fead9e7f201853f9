"""``nip triton``: writes a Triton model repository, or checks one against its graphs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from nip_runtime.errors import InputError
from nip_runtime.operate.triton import (
    GraphOptimisation,
    Instances,
    ServingSettings,
    check_repository,
    write_repository,
)

NAME: Final = "triton"
HELP: Final = "write a model repository for the Triton inference server"
_DEFAULTS: Final = ServingSettings()


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Copies a defended file into a Triton model repository and writes its config.pbtxt.\n"
        "A stock Triton server with the onnxruntime backend serves it; it needs nothing of\n"
        "this package. Clients send float32 within the file's bounds and get, per row:\n\n"
        "  logits          the defended answer (by the name that the model gives it)\n"
        "  nip_raw_logits  what the undefended model says\n"
        "  nip_suspicion   share of benign images that look less suspicious\n"
        "  nip_flagged     whether the gate takes the row for attacked\n"
        "  nip_candidate   the likeliest other class, which a correction answers\n\n"
        "The server checks shapes and types but not values: clients keep NaN and values out\n"
        "of bounds away. Rows of one batch do not influence each other."
    )
    parser.epilog = (
        "examples:\n"
        "  nip triton model.nip.onnx --out models\n"
        "  nip triton model.nip.onnx --out models --instances cpu:2 --threads 4\n"
        "  nip triton better.nip.onnx --out models --name model --version 2\n"
        "  nip triton --check models\n"
        "  tritonserver --model-repository=models\n\n"
        "exit code: 0 written or agrees, 2 wrong usage or file, or a repository that differs\n"
        "from its graphs"
    )
    parser.add_argument("model", metavar="F.onnx", nargs="?", help="defended file, made by `nip export`")
    parser.add_argument("--out", metavar="REPO", type=Path, help="model repository; made if absent")
    parser.add_argument(
        "--check",
        metavar="REPO",
        type=Path,
        help="write nothing: compare every config.pbtxt of a repository with the graphs beside it",
    )
    parser.add_argument("--name", help="of the model (default: of the file, without .nip.onnx)")
    parser.add_argument(
        "--version",
        type=int,
        default=1,
        metavar="N",
        help="version folder (default 1); Triton serves the highest",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        default=_DEFAULTS.max_batch,
        metavar="N",
        help=f"rows of one run, to which requests are joined (default {_DEFAULTS.max_batch})",
    )
    parser.add_argument(
        "--delay-us",
        type=int,
        default=_DEFAULTS.delay_us,
        metavar="US",
        help=f"microseconds that a request may wait for others (default {_DEFAULTS.delay_us})",
    )
    parser.add_argument(
        "--instances",
        default="cpu:1",
        metavar="I",
        help="copies of the model: cpu:2 (two on the CPU), gpu (one on each GPU), gpu:0,1 (one on GPU 0 and"
        " one on GPU 1), gpu:0,1x2 (two on each); default cpu:1. Not yet measured on a GPU",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each copy (default: one per core)",
    )
    parser.add_argument(
        "--optimise",
        choices=[str(choice) for choice in GraphOptimisation],
        default=str(_DEFAULTS.optimisation),
        help=f"onnxruntime's graph optimisations (default {_DEFAULTS.optimisation})",
    )
    parser.add_argument(
        "--require-signature",
        metavar="PUB",
        type=Path,
        help="public key (PEM) whose owner must have signed F.onnx; F.onnx.sig is copied in any case",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace files that are there with another content"
    )


def run(args: argparse.Namespace) -> int:
    """Write or check, and say what stands there now."""
    if args.check is not None:
        _check(args)
        return 0
    if args.model is None or args.out is None:
        raise InputError("expected F.onnx and --out REPO, or --check REPO (see nip triton --help)")
    written = write_repository(
        args.model,
        args.out,
        settings=ServingSettings(
            max_batch=args.max_batch,
            delay_us=args.delay_us,
            instances=Instances.parse(args.instances),
            threads=args.threads,
            optimisation=GraphOptimisation(args.optimise),
        ),
        name=args.name,
        version=args.version,
        force=args.force,
        require_signature=args.require_signature,
    )
    model = written.model
    print(f"{model.folder}: model {model.name}, version {written.version}, agrees with its graph")
    if written.replaced:
        print(f"replaced      {', '.join(written.replaced)}")
    print(f"serve with    tritonserver --model-repository={args.out}")
    return 0


def _check(args: argparse.Namespace) -> None:
    parser = argparse.ArgumentParser()
    configure(parser)
    usual = vars(parser.parse_args([]))
    others = [name for name in usual if name != "check" and getattr(args, name) != usual[name]]
    if others:  # most of all --require-signature: who hears nothing of it thinks that it was checked
        shown = ", ".join(f"--{name.replace('_', '-')}" if name != "model" else "a file" for name in others)
        raise InputError(f"expected --check REPO alone, got {shown} too (see nip triton --help)")
    for model in check_repository(args.check):
        versions = ", ".join(map(str, model.versions))
        print(
            f"{model.folder}: model {model.name}, version {versions}, at most {model.max_batch} rows: agrees"
        )
