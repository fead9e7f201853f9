"""One table over voices, files of others and the service leaves nothing out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import overview
from benchmarks.onnx_in import orientation, photographs
from benchmarks.onnx_in.table import NOT_MEASURED
from benchmarks.service.table import NETWORKS
from benchmarks.voices.table import ORDER


def test_the_committed_table_is_that_of_the_committed_results() -> None:
    assert overview.main(["--check"]) == 0


def test_every_network_and_attack_stands_there() -> None:
    text = "\n".join(overview.lines())
    for name in (*ORDER, *orientation.NETWORKS, photographs.NETWORK, *NETWORKS.values()):
        assert f"| {name}, " in text
    assert NOT_MEASURED not in text
    named = [(name, attack) for name in orientation.NETWORKS for attack in orientation.names()]
    rows = [f"| {name}, an ONNX file | {attack} |" for name, attack in named]
    assert [row for row in rows if row not in text] == []


def test_what_was_not_measured_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orientation, "RESULTS", tmp_path)
    rows = [*overview.voices([]), *overview.files(), *overview.services([])]
    assert len(rows) == len(ORDER) + len(orientation.NETWORKS) + 1 + len(NETWORKS)
    assert all(row[1:] == [NOT_MEASURED] * (len(overview.HEAD) - 1) for row in rows)
