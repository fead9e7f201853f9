"""Every graph value name and metadata key, spelled once.

First what a file shows to the outside, then the values inside its graph at which it can be cut into parts.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "nip_"
"""Start of every graph value that the defence adds."""

RAW_LOGITS: Final = "nip_raw_logits"
"""(N, C) float32: what the undefended model says."""

SUSPICION: Final = "nip_suspicion"
"""(N,) float32 in [0, 1]: share of benign calibration images that are less suspicious."""

FLAGGED: Final = "nip_flagged"
"""(N,) bool: the gate takes the row for attacked."""

CANDIDATE: Final = "nip_candidate"
"""(N,) int64: the likeliest class but the predicted one; under `always` that of the early read-outs."""

ADDED_OUTPUTS: Final = (RAW_LOGITS, SUSPICION, FLAGGED, CANDIDATE)
"""Outputs that follow the model's own output, in this order."""

BATCH_AXIS: Final = "N"
"""Symbolic name of the batch dimension."""

MANIFEST_KEY: Final = "nip.manifest"
"""Key of the manifest in the ONNX file's ``metadata_props``."""

SCREENED_ROWS: Final = "M"
"""Symbolic number of rows in the second pass under a screen."""

SECOND_PASS: Final = "nip/pass2/"
"""Start of every name in the second copy of the backbone."""

PREDICTED: Final = "nip/predicted"
"""(N, 1) int64: class with the largest raw logit."""

EARLY: Final = "nip/early_evidence"
"""(N, C) float32: mean log-probabilities of the read-outs."""

HYPOTHESIS: Final = "nip/hypothesis"
"""(N,) int64: class with the largest early evidence. Policy always only."""

DISAGREEMENT: Final = "nip/disagreement"
"""(N, 1) float32, standardised. In files up to manifest 1.2 the screen looks at it."""

FREE_SCORE: Final = "nip/free_score"
"""(N, 1) float32: sum of the tests on pass 1, which the screen looks at. Since manifest 1.3."""

SIGHT: Final = "nip/sight"
"""(N, 1) float32: the free score and what grain adds: what the screen looks at in files with grain."""

SCREENED: Final = "nip/screened"
"""(N, 1) bool: the row takes the second pass. Only in files with a screen."""

CALM_SUSPICION: Final = "nip/calm_suspicion"
"""(N,) float32: the suspicion of rows that do not take the second pass. Only in files with a screen."""

CALM_CANDIDATE: Final = "nip/calm_candidate"
"""(N,) int64: the candidate of rows that do not take the second pass. Only in files with a screen."""

ROWS: Final = "nip/rows"
"""(M,) int64: indices of the rows that take the second pass. Only in files with a screen."""

PERTURBED: Final = "nip/perturbed"
"""(M, *shape) float32, (N, *shape) without a screen: inputs of the second pass, under view and ρ."""

SECOND_LOGITS: Final = SECOND_PASS + RAW_LOGITS
"""(M, C) float32, (N, C) without a screen: logits of the second pass."""

SCREEN_THRESHOLD: Final = "nip/screen_threshold"
"""The screen's cut on the free score, a float32 scalar. Only in files with a screen."""

FLAG_THRESHOLD: Final = "nip/flag_threshold"
"""The gate's cut on the combined score, a float32 scalar."""

BANK: Final = "nip/bank"
"""(rows, *coarse) int8: inverse perturbations in steps. Only in files that add them."""

DEFENCE: Final = "nip/"
"""Start of the name of every constant of the defence."""
