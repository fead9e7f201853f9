"""Names of values in the defence's part of the graph at which nothing is ever cut, each spelled here only.

All others have the names that :mod:`nip_runtime.file.names` gives them. "Rows" are all N rows of the batch,
or under a screen the M rows that take the second pass.
"""

from __future__ import annotations

from typing import Final

PLACES: Final = "nip/places"
"""(M, 1) int64: where results of the second pass are put. Only under a screen."""
NOT_FLAGGED: Final = "nip/not_flagged"
"""(N,) bool: False for every row that does not take the second pass. Only under a screen."""
PICKED: Final = "nip/picked"
"""(M,) bool: whether the screen picked the row; False for a padding row. Only where there may be one."""
SHIFTS: Final = "nip/shifts"
"""(rows, C) float32: standardised shifts of every class's margin."""
ROW_FLAG: Final = "nip/row_flag"
"""(rows, 1) bool: the flag, for broadcasting over classes."""
ROW_SUSPICION: Final = "nip/row_suspicion"
"""(rows,) float32."""
