"""Names of the values inside the defence's part of the graph, each spelled here only.

Outputs have the names that :mod:`nip_runtime.names` gives them.
"""

from __future__ import annotations

from typing import Final

SECOND_PASS: Final = "nip/pass2/"
"""Start of every name in the second copy of the backbone."""

PREDICTED: Final = "nip/predicted"
"""(N, 1) int64: class with the largest raw logit."""
IS_PREDICTED: Final = "nip/is_predicted"
"""(N, C) bool: the predicted class's column."""
EARLY: Final = "nip/early_evidence"
"""(N, C) float32: mean log-probabilities of the read-outs."""
HYPOTHESIS: Final = "nip/hypothesis"
"""(N,) int64: class with the largest early evidence."""
DISAGREEMENT: Final = "nip/disagreement"
"""(N, 1) float32, standardised."""
SCREENED: Final = "nip/screened"
"""(N, 1) bool: the row takes the second pass."""
ROWS: Final = "nip/rows"
"""(M,) int64: indices of the rows that take the second pass."""
SECOND_LOGITS: Final = "nip/second_logits"
"""(N, C) float32: logits of the second pass; the raw ones where it was not taken."""
SHIFTS: Final = "nip/shifts"
"""(N, C) float32: standardised shifts of every class's margin; 0 where the second pass was not taken."""
SCORE: Final = "nip/score"
"""(N, 1) float32: combined −log₁₀ p."""
FLAG_COLUMN: Final = "nip/flag_column"
"""(N, 1) bool: the flag, for broadcasting over classes."""
OTHERS: Final = "nip/others"
"""(N, C) float32: evidence for every class, the predicted one at its floor."""
SCREENED_ROWS: Final = "M"
"""Symbolic number of rows in the second pass under a screen."""
