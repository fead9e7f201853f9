"""`nip inspect --card`: everything that the card says is in the manifest or in the file's own evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nip_runtime.cli.main import main
from nip_runtime.file.manifest import Manifest
from nip_runtime.operate.card import model_card
from tests.runtime.toy import graph_bytes, manifest_for

ROOT = Path(__file__).parents[2]
GOLDENS = sorted((ROOT / "tests" / "goldens").glob("*.onnx"))
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def manifest() -> Manifest:
    return manifest_for(graph_bytes())


def _report(path: Path, digest: str, threats: tuple[str, ...] = ("T1", "T4")) -> Path:
    rate, none = {"count": 21, "n": 24}, {"count": 0, "n": 24}
    cases = [
        {"threats": [threat], "epsilon": 8 / 255, "attacks": 6, "undefended": none, "defended": rate}
        for threat in threats
    ]
    both = {"threats": ["T1", "T4"], "epsilon": None, "attacks": 9, "undefended": none, "defended": none}
    path.write_text(
        json.dumps({"subject": {"graph_digest": digest}, "worst_case": [*cases, both]}), encoding="utf-8"
    )
    return path


def test_a_file_without_an_evaluation_says_so(toy_path: Path, capsys: Capture) -> None:
    assert main(["inspect", str(toy_path), "--card"]) == 0
    card = capsys.readouterr().out
    assert card.startswith(f"# {toy_path.name}\n")
    assert "**Not evaluated.**" in card
    assert "- figures of a toy" in card
    assert "- flagged: 1.8% [1.2%, 2.6%] (27/1500) of the rightly classified" in card


def test_the_evaluation_of_the_file_stands_in_its_card(
    toy_path: Path, manifest: Manifest, tmp_path: Path, capsys: Capture
) -> None:
    report = _report(tmp_path / "report.json", manifest.digests.graph)
    assert main(["inspect", str(toy_path), "--card", "--report", str(report)]) == 0
    card = capsys.readouterr().out
    attack = "| T1, worst of 6 made on the undefended network (gray-box) |"
    assert f"{attack} 8/255 | 0.0% [0.0%, 13.8%] (0/24) |" in card
    assert "| 87.5% [69.0%, 95.7%] (21/24) |" in card
    assert "left out" not in card and "worst of 9" not in card


def test_a_card_without_adaptive_attacks_says_what_to_expect_of_them(
    toy_path: Path, manifest: Manifest, tmp_path: Path, capsys: Capture
) -> None:
    report = _report(tmp_path / "report.json", manifest.digests.graph, ("T1",))
    assert main(["inspect", str(toy_path), "--card", "--report", str(report)]) == 0
    assert "**Adaptive attacks (T4) were left out.** Expect them to succeed." in capsys.readouterr().out


def test_the_report_of_another_file_is_refused(toy_path: Path, tmp_path: Path, capsys: Capture) -> None:
    report = _report(tmp_path / "report.json", "sha256:" + "0" * 64)
    assert main(["inspect", str(toy_path), "--card", "--report", str(report)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "got that of another graph" in told.err


def test_a_report_without_a_card_and_a_card_of_a_plain_model_are_refused(
    toy_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["inspect", str(toy_path), "--report", str(tmp_path / "any.json")]) == 2
    assert "expected --card with --report" in capsys.readouterr().err
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(graph_bytes())
    assert main(["inspect", str(plain), "--card"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "got a plain ONNX model" in told.err


def test_a_broken_file_has_no_card(tmp_path: Path, capsys: Capture) -> None:
    content = bytearray((ROOT / "tests" / "goldens" / "guarded.onnx").read_bytes())
    place = content.index(b'"policy": "guarded"')
    content[place : place + 19] = b'"policy": "guarden"'
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    assert main(["inspect", str(path), "--card"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "policy" in told.err


def test_words_of_a_file_are_no_markdown(manifest: Manifest) -> None:
    hostile = replace(manifest, known_limits=("none # [here](http://x) <b>|`",))
    assert "- none \\# \\[here\\](http://x) \\<b\\>\\|\\`" in model_card("a|b.onnx", hostile)
    assert model_card("a|b.onnx", hostile).startswith("# a\\|b.onnx\n")


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_every_golden_file_has_a_card(path: Path, capsys: Capture) -> None:
    assert main(["inspect", str(path), "--card"]) == 0
    card = capsys.readouterr().out
    sections = [line for line in card.splitlines() if line.startswith("## ")]
    assert len(sections) == 7 and "None" not in card
