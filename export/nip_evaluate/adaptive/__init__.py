"""Attackers who know the whole defence (T4), and the proof that the twin they look through is the file."""

from nip_evaluate.adaptive.cases import adaptive_cases
from nip_evaluate.adaptive.parity import Parity, parity, parity_claim

__all__ = ["Parity", "adaptive_cases", "parity", "parity_claim"]
