"""The two commands that the published numbers come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.hardening import bulk, scaling
from benchmarks.hardening import bulk_runs as runs

EXACT = runs.Compared(rows=500, lost=0, duplicated=0, different=0)
CALM = bulk.Trial("local", 3, 2, 0, EXACT)
DETAILS = {"shards": 5}


def test_a_quiet_record_is_met_and_every_loss_is_missed() -> None:
    fine = [CALM, replace(CALM, engine="dask")]
    found = bulk.record(fine, DETAILS, "c")
    assert sum(count.met is True for count in found.counts) == 8
    assert not any(count.met is False for count in found.counts)
    shown = {count.what: f"{count.value} of {count.of}" for count in found.counts}
    assert shown["local: workers killed at work"] == "3 of None"
    assert shown["dask: rows lost"] == "0 of 500"
    for bad in (
        replace(CALM, shards_lost=1),
        replace(CALM, compared=replace(EXACT, lost=1)),
        replace(CALM, compared=replace(EXACT, duplicated=1)),
        replace(CALM, compared=replace(EXACT, different=1)),
    ):
        missed = [count for count in bulk.record([*fine, bad], DETAILS, "c").counts if count.met is False]
        assert [count.value for count in missed] == [1]
    nothing = bulk.record([CALM], DETAILS, "c")  # no trial of engine dask shows nothing about it
    assert any(count.met is False for count in nothing.counts)


def test_the_comparison_sees_lost_duplicated_and_changed_rows(wanted: pa.Table) -> None:
    rows = len(wanted)
    assert runs.compare(wanted, wanted).is_exact
    short = runs.compare(wanted.slice(0, rows - 1), wanted)
    assert (short.lost, short.duplicated, short.different) == (1, 0, 1)
    doubled = runs.compare(pa.concat_tables([wanted, wanted.slice(0, 2)]), wanted)
    assert (doubled.lost, doubled.duplicated, doubled.different) == (0, 2, 2)
    logits = wanted["logits"].to_pylist()
    position = next(row for row, values in enumerate(logits) if values is not None)
    logits[position][0] += 1e-6 * abs(logits[position][0])
    column = pa.array(logits, wanted.schema.field("logits").type)
    changed = runs.compare(wanted.set_column(wanted.column_names.index("logits"), "logits", column), wanted)
    assert (changed.lost, changed.duplicated, changed.different) == (0, 0, 1)


def test_a_timed_run_is_whole_and_its_rates_are_paired(tmp_path: Path) -> None:
    photos = tmp_path / "photos.parquet"
    scaling.write_photos(photos, rows=20)
    seconds = scaling.run_seconds(scaling.Case("local", 2), runs.MODEL, photos, tmp_path, rows=20)
    assert 0 < seconds < 120
    times = {case: [4.0 / case.workers, 8.0 / case.workers] for case in scaling.CASES}
    found = scaling.record(times, rows=20, command="c")
    values = {count.what: count.value for count in found.counts}
    assert values["local, 1 worker: rows per second"] == pytest.approx(3.8, abs=0.1)
    assert values["dask: rows per second with 2 workers over 1"] == 2.0
