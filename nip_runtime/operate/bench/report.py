"""What a run of the bench found, and its JSON form."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import Policy, Precision
from nip_runtime.operate.bench.machine import Machine
from nip_runtime.operate.bench.memory import Opener
from nip_runtime.operate.bench.plain import Agreement
from nip_runtime.operate.bench.rounds import Latency, Spread

SCHEMA_VERSION: Final = "1.0"
"""Version of the JSON: another major number means that fields changed their meaning or went away."""


class Contender(StrEnum):
    """What is timed."""

    PLAIN = "plain"
    FUSED = "fused"
    GATED = "gated"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One contender at one batch size and one number of rows in the second pass.

    Attributes:
        contender: what ran.
        batch: rows per run.
        second_pass_rows: rows of them that took the second pass; 0 for the plain model.
        passes_per_row: what the policy states: 1, and 1 more for each row in the second pass.
        latency: of one run.
        images_per_s: at the median.
        ratio: of the run's time to the plain model's in the same round; None for the plain model.
        ratio_per_pass: the same over ``passes_per_row``.
    """

    contender: Contender
    batch: int
    second_pass_rows: int
    passes_per_row: float
    latency: Latency
    images_per_s: float
    ratio: Spread | None
    ratio_per_pass: Spread | None

    def __post_init__(self) -> None:
        if not 0 <= self.second_pass_rows <= self.batch:
            raise ValueError(f"second_pass_rows: expected 0 to {self.batch}, got {self.second_pass_rows}")
        is_plain = self.contender is Contender.PLAIN
        if is_plain != (self.ratio is None) or is_plain != (self.ratio_per_pass is None):
            raise ValueError(f"ratio: expected one for all but the plain model, got {self.ratio!r}")

    @classmethod
    def of(
        cls,
        contender: Contender,
        *,
        batch: int,
        second_pass_rows: int,
        latency: Latency,
        ratio: Spread | None,
    ) -> Timed:
        """Work out what follows from the measurement."""
        passes = 1 + second_pass_rows / batch
        return cls(
            contender=contender,
            batch=batch,
            second_pass_rows=second_pass_rows,
            passes_per_row=passes,
            latency=latency,
            images_per_s=latency.images_per_s(batch),
            ratio=ratio,
            ratio_per_pass=None if ratio is None else ratio.over(passes),
        )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What opening a file cost a fresh process.

    Attributes:
        opener: how it was opened: bare, or as a defended file with this engine asked for.
        file_bytes: of its file.
        opening_ms: time to open it.
        added_bytes: memory that opening it added.
        added_after_run_bytes: memory that opening it and one run added.
        resident_bytes: memory of the whole process after opening.
        opening_ratio: of its time to the plain model's; None for the plain model.
        added_ratio: of ``added_bytes`` to the plain model's; None for the plain model.
        resident_ratio: of ``resident_bytes`` to the plain model's; None for the plain model.
    """

    opener: Opener
    file_bytes: int
    opening_ms: Spread
    added_bytes: int
    added_after_run_bytes: int
    resident_bytes: int
    opening_ratio: Spread | None
    added_ratio: float | None
    resident_ratio: float | None


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """What :meth:`~nip_runtime.session.DefendedSession.predict` adds to a run of one row.

    Attributes:
        added_us: time within predict but outside onnxruntime's ``session.run``, µs. Engine fused.
        predict_us: time of the whole call, µs.
        rounds: calls.
    """

    added_us: Spread
    predict_us: Spread
    rounds: int


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """A run of the bench.

    Attributes:
        schema_version: of this form.
        created: ISO 8601 in UTC.
        duration_s: of the whole run.
        file: as it was named.
        file_bytes: its size.
        bank_bytes, readout_bytes: of it, the bank of inverse perturbations and the gate's read-outs.
        graph_digest: of its graph.
        policy: what it does with inputs.
        precision: of its backbone.
        has_screen: whether a screen picks the rows of the second pass; without, all rows take it.
        plain: where the plain model comes from: None if it was cut out of the file, else the user's file.
        agreement: of the plain model's logits with the file's raw logits.
        device: taken, "cpu" or "cuda:0" and so on.
        provider: of onnxruntime, taken.
        threads: CPU threads for one run.
        auto_engine: what engine auto takes for this file here; None if it was not asked for.
        auto_why: why it takes that; None likewise.
        machine: what it ran on.
        timed: in the order of batch sizes.
        opened: what opening cost, the plain model first; empty if it was not measured.
        overhead: of predict; None on other devices than the CPU.
    """

    schema_version: str = SCHEMA_VERSION
    created: str
    duration_s: float
    file: str
    file_bytes: int
    bank_bytes: int
    readout_bytes: int
    graph_digest: str
    policy: Policy
    precision: Precision
    has_screen: bool
    plain: str | None
    agreement: Agreement
    device: str
    provider: str
    threads: int
    auto_engine: Contender | None
    auto_why: str | None
    machine: Machine
    timed: tuple[Timed, ...]
    opened: tuple[Opened, ...]
    overhead: Overhead | None

    def __post_init__(self) -> None:
        if self.schema_version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
            raise ValueError(f"schema_version: expected {SCHEMA_VERSION}, got {self.schema_version!r}")

    def to_json(self) -> str:
        """Indented JSON that :func:`read_report` turns back into an equal report."""
        return json.dumps(_plain(self), indent=2, ensure_ascii=False, allow_nan=False)


def read_report(text: str) -> BenchReport:
    """Read the JSON of a report. Fields that this version does not know are ignored.

    Raises:
        InputError: if it is none, or of another major version.
    """
    try:
        report: BenchReport = _decode(BenchReport, json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError.mismatch(
            expected=f"JSON of `nip bench`, version {SCHEMA_VERSION}",
            got=f"something else ({type(error).__name__}: {error})",
            fix="measure again with this version",
        ) from error
    return report


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value


def _decode(kind: Any, value: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{field.name: _decode(hints[field.name], value[field.name]) for field in fields(kind)})
    if get_origin(kind) is UnionType:  # X | None is the only union
        inner = next(option for option in get_args(kind) if option is not type(None))
        return None if value is None else _decode(inner, value)
    if get_origin(kind) is tuple:
        return tuple(_decode(get_args(kind)[0], item) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if issubclass(kind, StrEnum):
        return kind(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value
