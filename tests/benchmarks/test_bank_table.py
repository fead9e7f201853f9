"""The bank benchmark's committed tables, and how results are read and written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bank import results, table
from benchmarks.bank.forms import FORMS, READOUT_FORM, REFERENCE
from benchmarks.bank.results import (
    AttackLine,
    Cost,
    CostTable,
    FormResult,
    Number,
    Sizes,
    SizeTable,
    Strength,
)
from benchmarks.speed.networks import NETWORKS

NUMBER = Number(0.5, 0.4, 0.6, 1000)
ATTACKS = ("FGSM 8/255", "C&W κ=0")


def form(name: str, more: float = 0.0) -> FormResult:
    difference = Number(more, more - 0.01, more + 0.01, 1000)
    return FormResult(
        name=name,
        bank_bytes=784,
        readout_bytes=1000,
        cost=Number(0.012, 0.008, 0.017, 4000),
        cost_against_reference=Number(-0.0049, -0.01, -0.0001, 4000),
        flagged=None,
        mean_dsr=NUMBER,
        against_reference=difference,
        attacks=tuple(
            AttackLine(name=attack, successes=500, dsr=NUMBER, against_reference=difference)
            for attack in ATTACKS
        ),
    )


STRENGTH = Strength(
    network="vgg-1",
    policy="always",
    benign_budget=0.02,
    commit="abc",
    machine={"system": "Linux", "python": "3.11", "cores": 2, "packages": {"torch": "2"}},
    forms=(form("plain"), form("coarse", 0.0721)),
)
SIZES = SizeTable(
    commit="abc",
    machine={},
    rows=(
        Sizes(
            network="Net",
            policy="always",
            readout="layer (512)",
            plain=14_000_000,
            weights=13_950_000,
            bank=9_408_000,
            readouts=520_000,
            scales=8_500,
            rest=70_000,
        ),
    ),
)
COSTS = CostTable(
    commit="abc",
    machine={"cpu": "some CPU", "load": 0.1, "onnxruntime": "1.0"},
    rows=(
        Cost(
            network="Net", batch=1, rounds=9, plain_ms=20.0, adding_ms=0.5, ratio=0.025, low=0.02, high=0.03
        ),
    ),
)


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_a_number_changed_by_hand_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "README.md"
    shutil.copy(table.DOCUMENT, path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("FGSM 8/255 |", "FGSM 9/255 |", 1), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text
    monkeypatch.setattr(table, "DOCUMENT", path)
    assert table.main(["--check"]) == 1
    assert "README.md: tables differ" in capsys.readouterr().err
    assert table.main([]) == 0 and table.main(["--check"]) == 0


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results.write(tmp_path / "strength-vgg-1-always.json", STRENGTH)
    results.write(tmp_path / "sizes-net.json", SIZES)
    results.write(tmp_path / "cost.json", COSTS)
    assert results.read_strengths(tmp_path) == (STRENGTH,)
    assert results.read_sizes(tmp_path) == (SIZES,)
    assert results.read_costs(tmp_path) == COSTS
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (results.read_strengths(empty), results.read_sizes(empty), results.read_costs(empty)) == (
        (),
        (),
        None,
    )


def test_tables_say_what_the_results_say() -> None:
    text = "\n".join(table.document([STRENGTH], [SIZES], COSTS))
    # (13.95 + 0.52 + 0.0085 + 0.07) ÷ 14 MB: the bank does not count.
    assert "| Net | always | layer (512) | 14.0 MB | 9.41 MB | 520.0 kB | 8.50 kB | 70.0 kB |" in text
    assert "| 24.0 MB | 1.039 | met |" in text
    assert "| Net | 1 | 20.0 | 0.50 | 0.025 (0.020–0.030) | met |" in text
    assert (
        "| coarse | 784 B | – | 1.2 (0.8–1.7) | -0.5 (-1.0 to 0.0) | 50.0 (40.0–60.0) | +7.2 (+6.2 to +8.2) |"
        in text
    )
    assert "| C&W κ=0 | 500 | 50.0 (40.0–60.0) | +7.2 (+6.2 to +8.2) |" in text


def test_what_misses_its_target_says_so() -> None:
    (row,), (cost,) = SIZES.rows, COSTS.rows
    large = replace(SIZES, rows=(replace(row, readouts=2_000_000), replace(row, bank=12_500_000)))
    assert "\n".join(table.sizes([large])).count("**missed**") == 2
    assert "**missed**" in "\n".join(table.costs(replace(COSTS, rows=(replace(cost, ratio=0.081),))))


def test_what_was_not_measured_says_so() -> None:
    assert "\n".join(table.document([], [], None)).count("Not yet measured.") == 3


def test_committed_results_hold_every_form_of_both_networks_under_both_policies() -> None:
    strengths = results.read_strengths()
    assert {(s.network, s.policy) for s in strengths} == {
        (network, policy) for network in ("vgg-1", "resnet-1") for policy in ("guarded", "always")
    }
    names = [form.name for form in (*FORMS, READOUT_FORM)]
    for strength in strengths:
        assert [form.name for form in strength.forms] == names
        assert strength.forms[0].name == REFERENCE.name
        assert strength.forms[0].against_reference.value == 0
        assert "dirty" not in strength.commit
        for form_result in strength.forms:
            assert len(form_result.attacks) == 9


def test_committed_files_of_1000_classes_keep_their_size_targets() -> None:
    rows = [row for found in results.read_sizes() for row in found.rows]
    assert {row.network for row in rows} == {network.title for network in NETWORKS.values()}
    for row in rows:
        assert row.weights <= row.plain, "weights stand in the file once"
        assert row.bank <= 12e6, row
        if row.plain > 1e7:
            assert row.ratio <= table.FILE_LIMIT, row
