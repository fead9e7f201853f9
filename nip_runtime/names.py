"""Every graph value name and metadata key, spelled once."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "nip_"
"""Start of every graph value that the defence adds."""

RAW_LOGITS: Final = "nip_raw_logits"
"""(N, C) float32: what the undefended model says."""

SUSPICION: Final = "nip_suspicion"
"""(N,) float32 in [0, 1]: share of benign calibration images that are less suspicious."""

FLAGGED: Final = "nip_flagged"
"""(N,) bool: the gate holds the row for attacked."""

CANDIDATE: Final = "nip_candidate"
"""(N,) int64: class hypothesis of the early read-outs."""

ADDED_OUTPUTS: Final = (RAW_LOGITS, SUSPICION, FLAGGED, CANDIDATE)
"""Outputs that follow the model's own output, in this order."""

BATCH_AXIS: Final = "N"
"""Symbolic name of the batch dimension."""

MANIFEST_KEY: Final = "nip.manifest"
"""Key of the manifest in the ONNX file's ``metadata_props``."""
