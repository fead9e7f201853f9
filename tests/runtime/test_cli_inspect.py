from __future__ import annotations

import json
from pathlib import Path

import pytest

from nip_runtime.cli.main import main
from tests.runtime.toy import graph_bytes, manifest_for, with_manifest

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


def test_inspect_shows_a_defended_file(toy_path: Path, capsys: Capture) -> None:
    assert main(["inspect", str(toy_path)]) == 0
    text = capsys.readouterr().out
    for part in (
        "policy guarded",
        "matches the manifest",
        "output        nip_suspicion: float32 (N)",
        "MatMul 4",
        "standard 17",
        "3: shirt, bag, boot",
        "1.8% [1.2%, 2.6%] (27/1500)",
        "known limit   figures of a toy",
        "bank          1 inverse perturbations, 16 B (int8)",
        "gate          disagreement, typicality, response, change; screen at none, flag at 0.5",
        "second view   mirror+rho\n",
        "typicality    layer flatten, 3 class centres in 16 directions",
        "answer        shifts and 0.5 of the early evidence",
        "view tried  mirror+blur: keeps 96.7% [94.0%, 98.2%] (290/300), tells own mistakes 0.70,"
        " repairs 30.0% [21.9%, 39.6%] (30/100), moves 0.25\n",
        "view tried  mirror+rho: keeps 99.7% [98.1%, 99.9%] (299/300), tells own mistakes 0.75,"
        " repairs none (none made), moves 0.20\n",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("name", "view", "bank"),
    [
        ("mirror-median", "mirror+median", "none: the second view adds no inverse perturbation"),
        ("blur-gain-bits-rho", "blur+gain+bits+rho", "1 inverse perturbations, 784 B (int8)"),
        ("guarded-1.2", "rho", "1 inverse perturbations, 784 B (int8)"),
    ],
)
def test_inspect_tells_how_the_second_pass_looks(name: str, view: str, bank: str, capsys: Capture) -> None:
    path = ROOT / "tests" / "goldens" / f"{name}.onnx"
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"second view   {view}" in lines
    assert f"bank          {bank}" in lines
    assert main(["inspect", str(path), "--json"]) == 0
    gate = json.loads(capsys.readouterr().out)["manifest"]["gate"]
    if name.endswith("1.2"):
        assert gate is None
    else:
        assert "+".join([*gate["view"], *(["rho"] if gate["rho"] else [])]) == view


def test_inspect_as_json(toy_path: Path, capsys: Capture) -> None:
    assert main(["inspect", str(toy_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["size_bytes"] == toy_path.stat().st_size
    assert document["graph_digest_matches"] is True
    assert document["graph_digest"] == document["manifest"]["digests"]["graph"]
    assert document["problem"] is None
    assert document["inputs"] == [{"name": "input", "dtype": "float32", "shape": ["N", 1, 4, 4]}]
    assert document["operators"]["MatMul"] == 4
    gate = document["manifest"]["gate"]
    assert (gate["view"], gate["rho"]) == (["mirror"], True)
    assert (gate["typicality_layer"], gate["centres"], gate["directions"]) == ("flatten", 3, 16)
    assert [(tried["view"], tried["repaired"] is None) for tried in gate["views_tried"]] == [
        (["mirror", "blur"], False),
        (["mirror"], True),
    ]


def test_inspect_of_a_plain_file_says_so(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "plain.onnx"
    path.write_bytes(graph_bytes())
    assert main(["inspect", str(path)]) == 0
    assert "none: a plain ONNX model" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["manifest"], document["graph_digest_matches"]) == (None, None)


def test_inspect_of_a_changed_file_says_so(tmp_path: Path, capsys: Capture) -> None:
    model = graph_bytes()
    data = bytearray(with_manifest(model, manifest_for(model)))
    data[data.index(b"weights") + 100] ^= 1
    path = tmp_path / "changed.onnx"
    path.write_bytes(bytes(data))
    assert main(["inspect", str(path)]) == 2
    captured = capsys.readouterr()
    assert "DIFFERS FROM the manifest" in captured.out
    assert "the graph was changed after export" in captured.err
    assert main(["inspect", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["graph_digest_matches"] is False


def test_inspect_of_a_bad_manifest_still_shows_the_graph(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(with_manifest(graph_bytes(), '{"schema_version": "9.0"}'))
    assert main(["inspect", str(path)]) == 2
    captured = capsys.readouterr()
    assert "manifest      unreadable" in captured.out
    assert "expected major version 1" in captured.err
