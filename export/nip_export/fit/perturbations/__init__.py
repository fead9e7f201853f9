"""Inverse perturbations: what to add to an input so that front neurons rise and tail neurons fall."""

from nip_export.fit.perturbations.bank import coarse_factor, quantise
from nip_export.fit.perturbations.inverse import InverseObjective, ascend, one_step

__all__ = ["InverseObjective", "ascend", "coarse_factor", "one_step", "quantise"]
