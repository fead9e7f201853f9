"""``nip batch``: runs a defended file on more than one machine's memory holds, and survives being killed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from nip_runtime.cli.printable import printable
from nip_runtime.operate.bulk.config import BATCH, SHARD_ROWS, BatchConfig, EngineName

NAME: Final = "batch"
HELP: Final = "classify folders and Parquet files into Parquet, resumable, on one machine or a Dask cluster"
_SOME_FAILED: Final = 1
_INTERRUPTED: Final = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Classifies all images of folders and Parquet files, and writes Parquet parts.\n\n"
        "The rows are cut into shards; each becomes one part, written whole or not at\n"
        "all. Whatever is killed meanwhile, workers, this command or the machine: run the\n"
        "same command again, and it goes on with the shards that are missing. A folder\n"
        "begun with another model, other inputs or other settings is refused.\n\n"
        "inputs, in any mixture:\n"
        "  folder         searched recursively for image files, .npy, .npz and .parquet\n"
        "  Parquet file   column --column: image bytes, struct{bytes, path} as Hugging\n"
        "                 Face writes it, paths beside the file, or lists of uint8\n"
        "                 (H, W, C) or float32 (C, H, W)\n"
        "  image, array   as `nip predict` takes them\n\n"
        "columns of the parts:\n"
        "  source, row    input file, and index within it\n"
        "  label, label_name, raw_label, suspicion, flagged, candidate, reason\n"
        "                 see `nip predict --help`\n"
        "  error          why a row has no answer: unreadable, damaged, NaN and so on;\n"
        "                 such a row has reason refused, no label, and counts as flagged\n"
        "  logits         the defended ones, with --logits\n\n"
        "DIR/_summary.json appears when all is done, with the counts. A shard that fails\n"
        "again and again, or kills its workers, is named at the end, and the rest is done."
    )
    parser.epilog = (
        "examples:\n"
        "  nip batch model.nip.onnx --in photos/ --out answers/\n"
        "  nip batch model.nip.onnx --in train-*.parquet --out answers/ --column image\n"
        "  nip batch model.nip.onnx --in /data/photos --out /data/answers \\\n"
        "      --engine dask --scheduler tcp://10.0.0.5:8786\n\n"
        "Dask: start `dask scheduler` on one machine and `dask worker ADDRESS` on others;\n"
        "they need nip-runtime[cpu,vision,scale] and the same model, inputs and output\n"
        "folder at the same paths.\n\n"
        "exit code: 0 all done, 1 some rows have an error or some shards failed,\n"
        "2 wrong usage, model or cluster, 130 interrupted"
    )
    parser.add_argument("model", metavar="F.onnx", help="defended file, made by `nip export`")
    parser.add_argument(
        "--in", dest="inputs", metavar="INPUT", nargs="+", required=True, help="folders and files to classify"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the parts; made if missing")
    parser.add_argument(
        "--engine", choices=[*EngineName], default=EngineName.LOCAL, help="local (default) or dask"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask scheduler, with --engine dask")
    parser.add_argument(
        "--shard-rows",
        type=int,
        default=SHARD_ROWS,
        metavar="N",
        help=f"rows per part (default {SHARD_ROWS}): what a kill costs at most",
    )
    parser.add_argument("--column", default="", metavar="NAME", help="of Parquet inputs (default: image)")
    parser.add_argument("--logits", action="store_true", help="store the defended logits too")
    parser.add_argument(
        "--require-signature",
        metavar="PUB",
        type=Path,
        help="public key (PEM) whose owner must have signed F.onnx; see `nip sign`",
    )
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:1, on every worker"
    )
    parser.add_argument(
        "--batch", type=int, default=BATCH, metavar="N", help=f"rows per run of the model (default {BATCH})"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes with --engine local (default: one per core; one on a GPU)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads per worker (default: the cores shared out; with --engine dask 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Do what is missing, and say what came of it."""
    from nip_runtime.cli.batch_progress import BatchProgress
    from nip_runtime.inputs.images import quieten_opencv
    from nip_runtime.operate.bulk.run import run_batch

    config = BatchConfig(
        model=Path(args.model),
        inputs=tuple(args.inputs),
        out=Path(args.out),
        engine=EngineName(args.engine),
        scheduler=args.scheduler,
        shard_rows=args.shard_rows,
        batch=args.batch,
        device=args.device,
        workers=args.workers,
        threads=args.threads,
        column=args.column,
        logits=args.logits,
        require_signature=args.require_signature,
    )
    quieten_opencv()
    progress = BatchProgress(sys.stderr)
    try:
        summary = run_batch(config, progress)
    except KeyboardInterrupt:
        progress.clear()
        done = f" with {progress.shards} done" if progress.shards else ""
        print(f"nip: interrupted{done}; run the same command again to go on", file=sys.stderr)
        return _INTERRUPTED
    finally:
        progress.clear()
    parts = summary.shards - len(summary.failures)
    print(
        f"{summary.rows} rows in {parts} parts in {printable(args.out, sys.stdout.encoding)}:"
        f" {summary.flagged} flagged,"
        f" {summary.errors} with an error; {summary.seconds:.1f} s"
    )
    if summary.errors:
        print(f"nip: the first error is that of {printable(summary.first_error)}", file=sys.stderr)
    if summary.failures:
        print(
            f"nip: error: {len(summary.failures)} of {summary.shards} shards failed, see above;"
            " run the same command again to try them again",
            file=sys.stderr,
        )
    return _SOME_FAILED if summary.failures or summary.errors else 0
