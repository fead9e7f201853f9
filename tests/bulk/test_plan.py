from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nip_runtime.operate.bulk.plan import Kind, Plan, Settings, Source

SETTINGS = Settings(
    model="sha256:0", nip_version="1", device="cpu", batch=8, shard_rows=5, column="", logits=False
)
A = Source("/in/a.npy", Kind.ARRAY, 7, 100, 1_000_000_000)
B = Source("/in/b.png", Kind.IMAGE, 1, 200, 2_000_000_000)


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 17))
def test_every_row_is_in_one_shard_and_in_order(counts: list[int], shard_rows: int) -> None:
    sources = tuple(Source(f"/{i}", Kind.ARRAY, rows, 0, 0) for i, rows in enumerate(counts))
    plan = Plan(replace(SETTINGS, shard_rows=shard_rows), sources)
    shards = list(plan.shards())
    rows = [
        (piece.source.path, row)
        for shard in shards
        for piece in shard.pieces
        for row in range(piece.start, piece.stop)
    ]
    assert rows == [(source.path, row) for source in sources for row in range(source.rows)]
    assert [shard.number for shard in shards] == list(range(plan.shard_count))
    assert all(shard.rows == shard_rows for shard in shards[:-1])
    assert all(piece.stop > piece.start for shard in shards for piece in shard.pieces)


def test_equal_plans_have_equal_digests_and_others_do_not() -> None:
    plan = Plan(SETTINGS, (A, B))
    assert plan.digest == Plan(replace(SETTINGS), (A, B)).digest
    others = (
        Plan(replace(SETTINGS, batch=9), (A, B)),
        Plan(SETTINGS, (B, A)),
        Plan(SETTINGS, (A, replace(B, mtime_ns=2_000_000_001))),
    )
    assert plan.digest not in {other.digest for other in others}


@pytest.mark.parametrize(
    ("other", "had", "have"),
    [
        (Plan(replace(SETTINGS, model="sha256:1"), (A,)), "model 'sha256:1'", "model 'sha256:0'"),
        (Plan(replace(SETTINGS, shard_rows=9), (A,)), "shard rows 9", "shard rows 5"),
        (Plan(SETTINGS, (A, B)), "2 files, among them /in/b.png", "1 files without it"),
        (Plan(SETTINGS, ()), "0 files without /in/a.npy", "1 with it"),
        (
            Plan(SETTINGS, (replace(A, rows=6),)),
            "/in/a.npy of 100 bytes and 6 rows, changed at 1.000000",
            "it of 100 bytes and 7 rows, changed at 1.000000",
        ),
    ],
)
def test_a_difference_is_named(other: Plan, had: str, have: str) -> None:
    assert Plan(SETTINGS, (A,)).difference(other.content) == (had, have)


def test_another_order_is_a_difference() -> None:
    had, have = Plan(SETTINGS, (A, B)).difference(Plan(SETTINGS, (B, A)).content)
    assert (had, have) == ("the files in another order", "in this one")


@pytest.mark.parametrize(
    "stored", [b"", b"{", b"[]", b"null", b'{"format": 1}', b"\xff", b'{"format": 1, "sources": [1]}']
)
def test_what_is_no_plan_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError):
        Plan(SETTINGS, (A,)).difference(stored)


def test_a_plan_is_readable_json_even_with_names_that_are_no_utf8() -> None:
    plan = Plan(SETTINGS, (replace(A, path="/in/\udcff.npy"),))
    assert json.loads(plan.content)["sources"][0][0] == "/in/\udcff.npy"
