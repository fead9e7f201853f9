"""Recordings to inputs: decoded by libsndfile, one channel, one rate, one length, as the manifest pins it."""

from nip_runtime.inputs.sound.read import SOUND_SUFFIXES, read_sound
from nip_runtime.inputs.sound.resample import resampled, span

__all__ = ["SOUND_SUFFIXES", "read_sound", "resampled", "span"]
