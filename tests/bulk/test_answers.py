"""What the parts say is what the session says."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.hardening import bulk_runs as runs
from nip_runtime.operate.bulk.parts import schema
from nip_runtime.session import DefendedSession
from tests.bulk.conftest import ROWS, SHARDS


def rows_of(wanted: pa.Table, name: str) -> pa.Table:
    return wanted.filter([str(source).endswith(name) for source in wanted["source"].to_pylist()])


def test_a_run_answers_every_row_once(inputs: Path, calm: Path, wanted: pa.Table) -> None:
    assert len(wanted) == ROWS
    keys = set(zip(wanted["source"].to_pylist(), wanted["row"].to_pylist(), strict=True))
    assert len(keys) == ROWS
    assert wanted.schema.equals(schema(classes=10))
    assert len(list(calm.glob("part-*.parquet"))) == SHARDS


def test_the_answers_are_those_of_the_session(inputs: Path, wanted: pa.Table) -> None:
    pixels = np.load(inputs / "pixels.npy")
    with DefendedSession(runs.MODEL, device="cpu") as session:
        prediction = session.predict(pixels)
        names = session.manifest.output.class_names
    rows = rows_of(wanted, "pixels.npy")
    assert names is not None
    assert rows["row"].to_pylist() == list(range(len(pixels)))
    np.testing.assert_array_equal(rows["label"], prediction.labels)
    np.testing.assert_array_equal(rows["raw_label"], prediction.raw_labels)
    np.testing.assert_array_equal(rows["suspicion"], prediction.suspicion)
    np.testing.assert_array_equal(rows["flagged"], prediction.flagged)
    np.testing.assert_array_equal(rows["candidate"], prediction.candidate)
    assert rows["reason"].to_pylist() == list(map(str, prediction.reason))
    assert rows["label_name"].to_pylist() == [names[label] for label in prediction.labels]
    np.testing.assert_array_equal(np.stack(rows["logits"].to_pylist()).astype(np.float32), prediction.logits)
    assert {"passed", "corrected"} <= set(rows["reason"].to_pylist())  # or this shows little


def test_images_from_files_and_from_parquet_are_answered_alike(inputs: Path, wanted: pa.Table) -> None:
    encoded = pq.read_table(inputs / "some.parquet")["image"].to_pylist()
    image = cv2.imdecode(np.frombuffer(encoded[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    single = cv2.imread(str(inputs / "0000.png"), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert single is not None
    with DefendedSession(runs.MODEL, device="cpu") as session:
        suspicion = session.predict(image[None]).suspicion[0]
        of_file = session.predict(single[None]).suspicion[0]
    assert rows_of(wanted, "some.parquet")["suspicion"][0].as_py() == suspicion
    assert rows_of(wanted, "0000.png")["suspicion"].to_pylist() == [of_file]


def test_broken_rows_carry_their_error_and_count_as_flagged(wanted: pa.Table) -> None:
    broken = [row for row in wanted.to_pylist() if row["error"] is not None]
    found = {(Path(row["source"]).name, row["row"]): row["error"] for row in broken}
    assert set(found) == {("0003.png", 0), ("some.parquet", 7), ("some.parquet", 11), ("floats.npy", 5)}
    assert "can't decode" in found["0003.png", 0]
    assert "got null" in found["some.parquet", 7]
    assert "some.parquet[11]" in found["some.parquet", 11]
    assert "NaN" in found["floats.npy", 5]
    for row in broken:
        assert row["flagged"] is True
        assert row["reason"] == "refused"
        absent = ("label", "label_name", "raw_label", "suspicion", "candidate", "logits")
        assert [row[name] for name in absent] == [None] * 6


def test_the_footer_and_the_summary_say_what_was_done(calm: Path, wanted: pa.Table) -> None:
    stamps = [
        json.loads(pq.read_schema(part).metadata[b"nip_batch"]) for part in sorted(calm.glob("*.parquet"))
    ]
    assert [stamp["shard"] for stamp in stamps] == list(range(SHARDS))
    assert sum(stamp["rows"] for stamp in stamps) == ROWS
    assert stamps[0].keys() == {
        *(
            "format",
            "plan",
            "shard",
            "rows",
            "flagged",
            "errors",
            "first_error",
            "model",
            "nip_version",
            "manifest_schema",
        )
    }
    summary = json.loads((calm / "_summary.json").read_text())
    flagged = sum(wanted["flagged"].to_pylist()) - 4
    assert (summary["rows"], summary["errors"], summary["flagged"]) == (ROWS, 4, flagged)
    assert sum(stamp["flagged"] for stamp in stamps) == flagged
    assert summary["plan"] == stamps[0]["plan"]
    assert summary["first_error"].startswith(f"{calm.parent}/in/0003.png[0]: expected an image at")


def test_readers_of_parquet_folders_take_the_output_as_it_is(calm: Path, wanted: pa.Table) -> None:
    assert ds.dataset(calm, format="parquet").count_rows() == len(wanted)
