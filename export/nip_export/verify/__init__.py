"""Proof that the file computes what was calibrated: oracle in numpy, twin in torch, comparison with both."""

from nip_export.verify.compare import Comparison, verify_file
from nip_export.verify.oracle import Expected, oracle
from nip_export.verify.twin import DefendedTwin, TwinOutputs

__all__ = ["Comparison", "DefendedTwin", "Expected", "TwinOutputs", "oracle", "verify_file"]
