"""The JSON form of a report: it comes back equal, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Policy, Precision
from nip_runtime.operate.bench.machine import Machine
from nip_runtime.operate.bench.memory import Opener
from nip_runtime.operate.bench.plain import Agreement
from nip_runtime.operate.bench.report import (
    SCHEMA_VERSION,
    BenchReport,
    Contender,
    Opened,
    Overhead,
    Timed,
    read_report,
)
from nip_runtime.operate.bench.rounds import Latency, Spread


def _timed(contender: Contender, rows: int, ratio: Spread | None) -> Timed:
    latency = Latency(p50_ms=2.0, p95_ms=3.0, p99_ms=4.5, rounds=30)
    return Timed.of(contender, batch=16, second_pass_rows=rows, latency=latency, ratio=ratio)


def report() -> BenchReport:
    opened = Opened(
        opener=Opener.FUSED,
        file_bytes=1100,
        opening_ms=Spread(30.0, 28.0, 33.0),
        added_bytes=2048,
        added_after_run_bytes=4096,
        resident_bytes=66 << 20,
        opening_ratio=Spread(1.4, 1.3, 1.5),
        added_ratio=1.05,
        resident_ratio=1.01,
    )
    plain = replace(opened, opener=Opener.PLAIN, opening_ratio=None, added_ratio=None, resident_ratio=None)
    return BenchReport(
        created="2026-11-22T16:00:00+00:00",
        duration_s=12.5,
        file="models/größe.nip.onnx",
        file_bytes=1100,
        bank_bytes=100,
        readout_bytes=50,
        graph_digest=f"sha256:{'0' * 64}",
        policy=Policy.GUARDED,
        precision=Precision.FP32,
        has_screen=True,
        plain=None,
        agreement=Agreement(24, 0.0, 0.0),
        device="cpu",
        provider="CPUExecutionProvider",
        threads=1,
        auto_engine=None,
        auto_why=None,
        machine=Machine(
            cpu="Some CPU",
            cores=2,
            load=0.25,
            gpu=None,
            system="Linux",
            python="3.11.7",
            numpy="2.4.6",
            onnxruntime="1.31.1",
            nip_runtime="0.1.0",
            omp_threads="1",
        ),
        timed=(_timed(Contender.PLAIN, 0, None), _timed(Contender.FUSED, 4, Spread(1.3, 1.25, 1.5))),
        opened=(plain, opened),
        overhead=Overhead(
            added_us=Spread(40.0, 38.0, 44.0), predict_us=Spread(240.0, 230.0, 250.0), rounds=9
        ),
    )


def test_a_report_comes_back_equal() -> None:
    for one in (
        report(),
        replace(report(), opened=(), overhead=None, auto_engine=Contender.GATED, auto_why="measured"),
    ):
        assert read_report(one.to_json()) == one


def test_the_json_spells_out_what_follows_from_the_measurement() -> None:
    document = json.loads(report().to_json())
    assert document["schema_version"] == SCHEMA_VERSION
    plain, fused = document["timed"]
    assert plain["ratio"] is None
    assert fused["passes_per_row"] == 1.25
    assert fused["ratio_per_pass"] == {"median": 1.04, "low": 1.0, "high": 1.2}
    assert fused["images_per_s"] == 8000
    assert list(document) == [field.name for field in fields(BenchReport)]


def _without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda d: _without(d, "machine"), "KeyError: 'machine'"),
        (lambda d: d | {"schema_version": "2.0"}, "schema_version: expected 1.0, got '2.0'"),
        (lambda d: d | {"threads": "one"}, "expected int, got 'one'"),
        (lambda d: d | {"threads": True}, "expected int, got True"),
        (lambda d: d | {"policy": "lenient"}, "'lenient' is not a valid Policy"),
        (lambda d: d | {"timed": 3}, "TypeError"),
        (lambda d: [d], "TypeError"),
    ],
)
def test_what_is_no_report_is_refused(alter: Any, message: str) -> None:
    text = json.dumps(alter(json.loads(report().to_json())))
    with pytest.raises(InputError, match=r"JSON of `nip bench`, version 1\.0") as caught:
        read_report(text)
    assert message in str(caught.value)


def test_additions_of_a_newer_minor_version_are_ignored() -> None:
    document = json.loads(report().to_json()) | {"schema_version": "1.7", "weather": "fine"}
    assert read_report(json.dumps(document)) == replace(report(), schema_version="1.7")


def test_impossible_rows_are_refused_at_birth() -> None:
    with pytest.raises(ValueError, match="second_pass_rows: expected 0 to 16, got 17"):
        _timed(Contender.FUSED, 17, Spread(1, 1, 1))
    with pytest.raises(ValueError, match="ratio: expected one for all but the plain model"):
        _timed(Contender.FUSED, 1, None)
