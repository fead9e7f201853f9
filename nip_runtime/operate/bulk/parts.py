"""The parts: what their columns mean, and what their footers say.

======== ================ =========================================================================
column   type             meaning
======== ================ =========================================================================
source   string           absolute path of the input file
row      int64            index within it, from 0
label    int64, null      the defended answer
label_name string, null   its name, where the model has names
raw_label int64, null     what the undefended model says
suspicion float32, null   share of benign calibration images that look less suspicious
flagged  bool             whether the gate takes the row for attacked; true for a row with an error
candidate int64, null     likeliest class besides raw_label, which a correction answers
reason   string           passed, corrected, confirmed, detected, or refused (see ``error``)
error    string, null     why the row has no answer; then all that may be null is null
logits   float32[C], null defended logits, with ``--logits`` alone
======== ================ =========================================================================

Parts are in the order of the input, and so are their rows. The footer's metadata ``nip_batch`` (JSON) names
plan, shard, counts, model and versions: from it alone one sees that a part is whole and belongs here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from nip_runtime import __version__
from nip_runtime.errors import InputError
from nip_runtime.file.manifest import SCHEMA_VERSION
from nip_runtime.operate.bulk.answers import Answered
from nip_runtime.operate.bulk.arrow import arrow, open_parquet, parquet
from nip_runtime.operate.bulk.plan import FORMAT, Shard
from nip_runtime.support.writing import replacing

_KEY: Final = b"nip_batch"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What one part holds.

    Attributes:
        shard: its number.
        rows: all of them.
        flagged: answered and held for attacked.
        errors: without an answer.
        first_error: why the first of them has none, with its row; "" if all have one.
        fresh: False if the part was there already.
    """

    shard: int
    rows: int
    flagged: int
    errors: int
    first_error: str
    fresh: bool


def schema(*, classes: int | None) -> Any:
    """The columns as a pyarrow schema, with ``logits`` if ``classes`` is given."""
    pa = arrow()
    fields = [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("label", pa.int64()),
        pa.field("label_name", pa.string()),
        pa.field("raw_label", pa.int64()),
        pa.field("suspicion", pa.float32()),
        pa.field("flagged", pa.bool_(), nullable=False),
        pa.field("candidate", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
    if classes is not None:
        fields.append(pa.field("logits", pa.list_(pa.float32(), classes)))
    return pa.schema(fields)


def write_part(
    path: Path, answered: Answered, *, shard: Shard, plan: str, model: str, classes: int | None
) -> Counts:
    """Write a part, whole or not at all. Equal answers give equal bytes.

    Args:
        path: of the part.
        answered: its rows.
        shard: what it had to answer.
        plan, model: digests.
        classes: of the logits; None to leave them out.

    Raises:
        InputError: if the file can't be written, or rows are missing.
    """
    if len(answered) != shard.rows:
        raise InputError.mismatch(
            expected=f"{shard.rows} rows for {shard}", got=str(len(answered)), fix="report this as a bug"
        )
    counts = Counts(
        shard=shard.number,
        rows=len(answered),
        flagged=answered.flags,
        errors=answered.errors,
        first_error=answered.first_error,
        fresh=True,
    )
    stamp = {"format": FORMAT, "plan": plan, "model": model, "nip_version": __version__}
    stamp |= {"manifest_schema": SCHEMA_VERSION, **asdict(counts)}
    del stamp["fresh"]
    columns = schema(classes=classes).with_metadata({_KEY: json.dumps(stamp)})
    table = arrow().Table.from_arrays(
        [
            arrow().array(values, kind.type)
            for values, kind in zip(answered.columns(logits=classes is not None), columns, strict=True)
        ],
        schema=columns,
    )
    # A file and no path: pyarrow takes only those that are UTF-8.
    with replacing(path) as temporary, temporary.open("wb") as file:
        parquet().write_table(table, file, compression="zstd", write_page_checksum=True)
    return counts


def read_counts(path: Path, *, plan: str, shard: int, rows: int) -> Counts | None:
    """The counts of a part that is there, whole, and of this plan; None otherwise."""
    try:
        with open_parquet(str(path)) as file:
            stamp = json.loads(file.schema_arrow.metadata[_KEY])
            if (stamp["plan"], stamp["shard"], file.metadata.num_rows) != (plan, shard, rows):
                return None
            return Counts(
                shard=shard,
                rows=rows,
                flagged=stamp["flagged"],
                errors=stamp["errors"],
                first_error=stamp["first_error"],
                fresh=False,
            )
    except (OSError, ValueError, KeyError, TypeError):
        return None
