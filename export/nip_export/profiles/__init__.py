"""What benign images say about neurons: their influence on each class, and each layer's own opinion."""

from nip_export.profiles.influence import InfluenceProfile, influence_profiles, influences
from nip_export.profiles.readout import LinearReadOut, fit_readout, fit_temperature

__all__ = [
    "InfluenceProfile",
    "LinearReadOut",
    "fit_readout",
    "fit_temperature",
    "influence_profiles",
    "influences",
]
