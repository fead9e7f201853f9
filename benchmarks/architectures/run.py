"""What the exporter finds in networks of others: taps, and a trial export compared with torch.

Needs timm and torchvision, installed without their dependencies into a folder on PYTHONPATH.

python -m benchmarks.architectures.run                      # what is not in the results yet
python -m benchmarks.architectures.run timm/resnet18 …      # these again
python -m benchmarks.architectures.run --taps               # plans alone, seconds each
python -m benchmarks.architectures.run --modules   # plans alone, one network of each timm module
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "architectures.json"
BATCHES = (1, 3)
LIMIT_S = 1800


def main(arguments: list[str] | None = None) -> int:
    """Try networks, each in a process of its own; results are kept after every one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="LIBRARY/NETWORK")
    parser.add_argument("--taps", action="store_true", help="find taps, export nothing")
    parser.add_argument("--modules", action="store_true", help="one network of each module of timm: taps")
    parser.add_argument("--one", metavar="LIBRARY/NETWORK", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.one is not None:
        print(json.dumps(tried(args.one, export=not args.taps)))
        return 0
    from benchmarks.architectures.networks import module_names, names

    known_names = {*names(), *module_names().values()}
    for name in args.names:
        if name not in known_names:
            parser.error(f"expected networks that networks.py names, got {name}; add it there")
    for library in ("timm", "torchvision"):
        if importlib.util.find_spec(library) is None:
            parser.error(f"expected {library} on PYTHONPATH, got none; the README says how to install it")
    plans_alone = args.taps or args.modules
    for name in args.names or list(module_names().values() if args.modules else names()):
        results = read_results()
        if not args.names and (results.get(name, {}).get("exported") or (plans_alone and name in results)):
            continue
        found = in_process(name, export=not plans_alone)
        results = {**read_results(), name: found}
        order = [known for known in (*names(), *module_names().values()) if known in results]
        order = list(dict.fromkeys(order))
        order += [other for other in results if other not in order]
        RESULTS.write_text(json.dumps({known: results[known] for known in order}, indent=1) + "\n")
        print(name, "|", found.get("refused") or found.get("features"), flush=True)
    return 0


def read_results() -> dict[str, dict[str, Any]]:
    """What was found so far, by network."""
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def in_process(name: str, *, export: bool) -> dict[str, Any]:
    """One network in a process of its own, so that one that dies is only one."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.architectures.run", "--one", name]
    command += [] if export else ["--taps"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"refused": f"no end within {LIMIT_S} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"refused": f"exit code {done.returncode}: {last}"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def tried(name: str, *, export: bool) -> dict[str, Any]:
    """Plan and trial export of one network; what is refused carries the first line of the message."""
    import torch

    from benchmarks.architectures.networks import build
    from nip_export.network import as_classifier, find_taps
    from nip_runtime.errors import ExportError

    torch.set_num_threads(1)
    model, shape = build(name)
    x = torch.rand(max(BATCHES), *shape, generator=torch.Generator().manual_seed(0))
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    try:
        began = time.process_time()
        classifier = as_classifier(model, x[:2])
        plan = find_taps(classifier.model, x[:2])
        found |= {
            "features": plan.features,
            "early": [f"{tap.name} {tap.kind}" for tap in plan.layers[:-1]],
            "classifier": plan.classifier,
            "notes": list(classifier.notes),
            "taps_cpu_s": round(time.process_time() - began, 1),
        }
        if export:
            began = time.process_time()
            found |= exported(classifier.model, x, plan.names)
            found["export_cpu_s"] = round(time.process_time() - began, 1)
    except ExportError as error:
        found["refused"] = str(error).splitlines()[0]
    return found


def exported(model: Any, x: Any, taps: tuple[str, ...]) -> dict[str, Any]:
    """Export with all taps; the largest error of logits and taps over their scale, and what no rows do."""
    import numpy as np
    import onnxruntime
    import torch

    from nip_export.attach.backbone import export_backbone
    from nip_export.attach.writing import serialise
    from nip_export.network.tapped import TappedNetwork
    from nip_runtime.file.allowed import FATAL_WHEN_EMPTY

    backbone = export_backbone(model, x[:2], taps)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(
        serialise(backbone.model), options, providers=["CPUExecutionProvider"]
    )
    network = TappedNetwork(model, taps, mean=None, std=None).eval()
    error = 0.0
    for batch in BATCHES:
        with torch.no_grad():
            wanted = [value.numpy() for value in network(x[:batch])]
        for ours, theirs in zip(session.run(None, {backbone.input: x[:batch].numpy()}), wanted, strict=True):
            error = max(error, float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-6)))
    fatal = sorted(FATAL_WHEN_EMPTY & {node.op_type for node in backbone.model.graph})
    return {
        "exported": True,
        "error": error,
        "no_rows": f"not asked: {fatal}" if fatal else no_rows(session, x),
    }


def no_rows(session: Any, x: Any) -> str:
    """What onnxruntime does with a batch of none."""
    try:
        empty = session.run(None, {session.get_inputs()[0].name: x[:0].numpy()})
    except Exception as failed:  # onnxruntime's have no base class of their own
        return "fails: " + " ".join(str(failed).split())[-120:]
    return "runs" if all(len(value) == 0 for value in empty) else "returns rows"


if __name__ == "__main__":
    sys.exit(main())
