"""The committed table of other people's networks is that of the results, and keeps what was reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.architectures import run, table
from benchmarks.architectures.networks import TIMM, TORCHVISION, module_names, names


def test_the_committed_table_is_that_of_the_committed_results() -> None:
    assert table.main(["--check"]) == 0


def test_nearly_every_network_gets_a_plan_and_what_was_exported_is_equal() -> None:
    results = run.read_results()
    assert set(results) <= {*names(), *module_names().values()}
    for library, least in (("timm", 34), ("torchvision", len(TORCHVISION))):
        exported = [results[name] for name in names() if name.startswith(library) and name in results]
        exported = [found for found in exported if found.get("exported")]
        assert len(exported) >= least
        assert all("features" in found and found["error"] <= table.EQUAL for found in exported)
    assert len(TIMM) == 37
    planned = [name for name in module_names().values() if "features" in results.get(name, {})]
    assert len(planned) >= 95 and len(module_names()) == 98


def test_residual_branches_gates_and_single_heads_are_tapped_nowhere() -> None:
    for name, found in run.read_results().items():
        places = [*(early.split()[0] for early in found.get("early", [])), found.get("features", "")]
        parts = {part for place in places for part in place.split(".")}
        assert not parts & {"se", "drop_path", "downsample", "shortcut", "attn", "mlp", "head_dist"}, name
        if "head_dist" in found.get("classifier", ""):
            assert not found["features"].startswith("head"), name


def test_a_network_that_fails_is_told_and_not_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "none.json")
    text = "\n".join(table.lines())
    assert text.count("refused: not tried") == len(list(names()))
    assert "0 of 37 get a tap plan" in text
    assert (
        table.state({"exported": True, "error": 0.5, "no_rows": "fails: x"})
        == "**differs** (5e-01); none: fails"
    )
