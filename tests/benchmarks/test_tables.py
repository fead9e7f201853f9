from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.robustness import table, tables
from benchmarks.robustness.networks import Kind, kind_of
from benchmarks.robustness.results import MAIN, read_networks
from nip_evaluate.terms.threats import Threat


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_a_number_changed_by_hand_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/results.md", "docs/settings.md", "benchmarks/README.md"):
        shutil.copy(table.ROOT / name, tmp_path / name)
    path = tmp_path / "docs" / "results.md"
    text = path.read_text(encoding="utf-8")
    start = text.index(table.BEGIN)
    path.write_text(text[:start] + text[start:].replace("0.0 (0.0–", "9.9 (0.0–", 1), encoding="utf-8")
    monkeypatch.setattr(table, "ROOT", tmp_path)
    assert table.main(["--check"]) == 1
    assert "results.md: tables differ" in capsys.readouterr().err
    assert table.main([]) == 0 and table.main(["--check"]) == 0


def test_every_network_has_every_row_and_its_adaptive_attacks() -> None:
    networks = read_networks()
    assert networks
    for network in networks:
        assert [row.limit for row in network.rows] == list(tables.LIMITS)
        adaptive = [result for result in network.main.attacks if result.threat is Threat.ADAPTIVE]
        assert len(adaptive) == 12 or network.brief
        text = "\n".join(table.full(networks))
        assert all(result.name in text for result in adaptive)


def test_data_sets_and_kinds_stand_apart_natural_images_first() -> None:
    networks = read_networks()
    groups = tables.grouped(networks)
    assert [network.name for _, members in groups for network in members] == [n.name for n in networks]
    kinds = [kind for group in tables.GROUPS for kind in group.kinds]
    assert sorted(kinds) == sorted(Kind) and len(set(kinds)) == len(kinds)
    naturals = [kind.is_cifar for kind in kinds]
    assert naturals == sorted(naturals, reverse=True)
    lines = tables.strength(networks)
    titles = [line.split("**")[1] for line in lines if line.startswith("| **")]
    assert titles == [group.title for group, _ in groups]
    for group, members in groups:
        for network in members:
            row = next(line for line in lines if line.startswith(f"| {network.name}"))
            assert ("form chosen on it" in row) == (network.name in group.developed_with)
    assert MAIN in tables.LIMITS


def test_what_was_measured_in_part_is_said() -> None:
    networks = read_networks()
    partly = [replace(network, brief=True) for network in networks]
    said = table.counted(partly).partition("In part: ")[2]
    assert all(network.name in said for network in networks)
    assert "In part" not in table.counted([replace(network, brief=False) for network in networks])


def test_what_was_not_measured_is_said() -> None:
    networks = read_networks()
    some = [network for network in networks if kind_of(network.name) is not Kind.CIFAR_RESNET20]
    assert "cifar-resnet20" in table.counted(some).partition("Not measured")[2]
