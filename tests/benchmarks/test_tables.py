from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.robustness import table, tables
from benchmarks.robustness.results import MAIN, read_networks
from nip_export.evaluate.threats import Threat


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_a_number_changed_by_hand_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmarks").mkdir()
    for name in ("README.md", "benchmarks/README.md"):
        shutil.copy(table.ROOT / name, tmp_path / name)
    path = tmp_path / "README.md"
    text = path.read_text(encoding="utf-8")
    start = text.index(table.BEGIN)
    path.write_text(text[:start] + text[start:].replace("0.0 (0.0–", "9.9 (0.0–", 1), encoding="utf-8")
    monkeypatch.setattr(table, "ROOT", tmp_path)
    assert table.main(["--check"]) == 1
    assert "README.md: tables differ" in capsys.readouterr().err
    assert table.main([]) == 0 and table.main(["--check"]) == 0


def test_every_network_has_every_row_and_its_adaptive_attacks() -> None:
    networks = read_networks()
    assert networks
    for network in networks:
        assert [row.limit for row in network.rows] == list(tables.MUST_AND_AIM)
        adaptive = [result for result in network.main.attacks if result.threat is Threat.ADAPTIVE]
        assert len(adaptive) == 10
        text = "\n".join(table.full(networks))
        assert all(result.name in text for result in adaptive)


def test_the_readme_never_averages_the_transformer_into_what_was_developed_with() -> None:
    known, others = tables.split(read_networks())
    assert {network.name.split("-")[0] for network in known} <= set(tables.DEVELOPED_WITH)
    assert all(network.name.startswith("vit") for network in others)
    lines = tables.strength(known + others)
    means = next(line for line in lines if line.startswith("| **mean of these**"))
    only = next(line for line in tables.strength(known) if line.startswith("| **mean of these**"))
    assert means == only
    assert MAIN in tables.MUST_AND_AIM
