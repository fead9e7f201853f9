"""The example at the head of the package works as it stands, all the way to a scrape."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

import nip_runtime.observe
from nip_runtime.session import DefendedSession

GOLDEN = Path(__file__).parents[1] / "goldens" / "guarded.onnx"

_SCRAPE = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:{port}/metrics", timeout=10).read().decode())
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def test_the_example_runs(tmp_path: Path) -> None:
    found = re.search(r"\n((?:    .*\n|\n)+)", nip_runtime.observe.__doc__ or "")
    assert found is not None
    example, port = textwrap.dedent(found[1]), free_port()
    assert "start_http_server(9100)" in example
    (tmp_path / "model.nip.onnx").write_bytes(GOLDEN.read_bytes())
    with np.load(GOLDEN.with_suffix(".npz")) as golden:
        np.save(tmp_path / "images.npy", golden["images"])
        with DefendedSession(GOLDEN, device="cpu", threads=1) as session:
            expected = session.predict(golden["images"])
    code = (
        "import numpy\nimages = numpy.load('images.npy')\n"
        + example.replace("9100", str(port))
        + _SCRAPE.format(port=port)
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, *metrics = done.stdout.splitlines()
    flagged = int(expected.flagged.sum())
    assert said == f"{flagged} flagged of {len(expected)}"
    assert f'nip_flagged_rows_total{{model="model"}} {flagged}.0' in metrics
    assert f'nip_drift_rows_total{{model="model"}} {len(expected)}.0' in metrics
    assert any(line.startswith("nip_model_info{") and 'policy="guarded"' in line for line in metrics)
    lines = (tmp_path / "flagged.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["row"] for line in lines] == np.flatnonzero(expected.flagged).tolist()
