"""What benign images say about neurons: their influence on each class, and each layer's own opinion."""

from nip_export.fit.profiles.influence import InfluenceProfile, influence_profiles, influences
from nip_export.fit.profiles.readout import LinearReadOut, fit_readout, fit_temperature
from nip_export.fit.profiles.storage import as_stored, in_steps

__all__ = [
    "InfluenceProfile",
    "LinearReadOut",
    "as_stored",
    "fit_readout",
    "fit_temperature",
    "in_steps",
    "influence_profiles",
    "influences",
]
