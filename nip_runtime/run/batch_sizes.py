"""How many rows go into one run: the batch sizes worth warming, and what a given memory ceiling allows."""

from __future__ import annotations

from nip_runtime.errors import InputError


def bucket(rows: int, max_rows: int) -> int:
    """Rows to pad a sub-batch of ``rows`` to: the next power of two, but never more than ``max_rows``.

    On CUDA every batch size seen for the first time costs a search for kernels, so a run whose number of rows
    depends on the data is padded to one of few sizes.

    Args:
        rows: at least 1: a run of no rows is not to be padded but left out.
        max_rows: at least ``rows``; need not be a power of two.

    Raises:
        InputError: if ``rows`` is not within 1…``max_rows``.
    """
    if not 1 <= rows <= max_rows:
        raise InputError.mismatch(
            expected=f"1 to {max_rows} rows in one run",
            got=str(rows),
            fix="leave an empty run out, and split a larger one",
        )
    return min(1 << (rows - 1).bit_length(), max_rows)


def buckets(max_rows: int) -> tuple[int, ...]:
    """Every number of rows that :func:`bucket` can answer, ascending: what to run once before traffic.

    Raises:
        InputError: if ``max_rows`` is less than 1.
    """
    if max_rows < 1:
        raise InputError.mismatch(
            expected="at least 1 row in one run", got=str(max_rows), fix="allow at least one"
        )
    powers = [1 << exponent for exponent in range(max_rows.bit_length()) if 1 << exponent < max_rows]
    return (*powers, max_rows)
