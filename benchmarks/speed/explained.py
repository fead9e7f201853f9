"""Why a ratio misses its target: where the time goes, by onnxruntime's own profiler."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.markdown import table
from benchmarks.speed.profile import Profile, Section
from benchmarks.speed.results import Cell, NetworkResult
from benchmarks.speed.tables import LABELS, NONE, ratio_verdict, span


def profile_table(profiles: Sequence[Profile], batch: int) -> list[str]:
    """Where the time goes at one batch size, in shares of the plain run; empty if it was not profiled."""
    here = [profile for profile in profiles if profile.batch == batch]
    base = next((profile for profile in here if profile.variant == "plain"), None)
    if base is None:
        return []
    head = [
        f"batch {batch}",
        "ms",
        "all",
        *(section for section in Section),
        "largest operators of the heads",
    ]
    rows = []
    for profile in here:
        shares = [profile.ms(section) / base.total_ms for section in Section]
        section = Section.PASS_1 if profile is base else Section.HEADS
        largest = ", ".join(
            f"{part.operator} ×{part.nodes} {1e3 * part.ms:.0f} µs" for part in profile.largest(section, 3)
        )
        rows.append(
            [
                profile.variant,
                f"{profile.total_ms:.2f}",
                f"{profile.total_ms / base.total_ms:.2f}",
                *(f"{share:.3f}" for share in shares),
                largest or NONE,
            ]
        )
    return table(head, rows)


def misses(result: NetworkResult, profiles: Sequence[Profile]) -> list[str]:
    """One line per missed ratio: how much too long, and what the profiler says of the nearest batch size."""
    lines = []
    for cell in result.cells:
        verdict = ratio_verdict(cell)
        if cell.threads != 1 or verdict is None or verdict.met:
            continue
        lines.append(
            f"- {LABELS[cell.state]}, {cell.engine}, batch {cell.batch}: {verdict.value:.2f} instead of "
            f"{verdict.limit:g}. {beyond_passes(result, cell, profiles)}"
        )
    return [*lines, ""] if lines else ["All ratios keep their targets.", ""]


def beyond_passes(result: NetworkResult, cell: Cell, profiles: Sequence[Profile]) -> str:
    """Where the time beyond the policy's passes goes, by the profiler's account of the nearest batch size."""
    own = [profile for profile in profiles if profile.variant == f"{cell.engine} {cell.state}"]
    if not own:
        return "Not profiled."
    found = min(own, key=lambda profile: abs(profile.batch - cell.batch))
    base = next(p for p in profiles if p.variant == "plain" and p.batch == found.batch)
    passes = 1 + cell.second_pass_rows / cell.batch
    plain = next(p for p in result.plain if (p.batch, p.threads) == (cell.batch, cell.threads))
    beyond_us = 1e3 * plain.latency.p50_ms * (cell.ratio.median - passes)
    more = found.operators - base.operators
    second = found.ms(Section.PASS_2) - base.ms(Section.PASS_1) * found.second_pass_rows / found.batch
    shares = {
        "heads": found.ms(Section.HEADS),
        "pass 1 beyond the plain one": found.ms(Section.PASS_1) - base.ms(Section.PASS_1),
        "pass 2 beyond its rows' share of one": second,
        "operators made by onnxruntime": found.ms(Section.INSERTED) - base.ms(Section.INSERTED),
        "between operators": found.ms(Section.BETWEEN) - base.ms(Section.BETWEEN),
    }
    parts = sorted(shares.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name} {span(1e3 * value, sign='+')}" for name, value in parts if abs(value) >= 1e-3)
    door = f" ({result.overhead.added_us.median:.0f} µs of it in predict itself)" if cell.batch == 1 else ""
    return (
        f"Beyond {passes:.2f} plain passes: {span(beyond_us)}{door}, {more} operators more than the plain "
        f"file runs. Under the profiler, batch {found.batch}: {text}."
    )
