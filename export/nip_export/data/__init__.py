"""Labelled images from disk and what calibration needs of them: reading, splitting, fingerprints."""

from nip_export.data.images import ImageSet, digest, to_model_input
from nip_export.data.parquet import Columns
from nip_export.data.reading import read_dataset
from nip_export.data.sound import read_recordings, sound_input
from nip_export.data.splits import stratified_split

__all__ = [
    "Columns",
    "ImageSet",
    "digest",
    "read_dataset",
    "read_recordings",
    "sound_input",
    "stratified_split",
    "to_model_input",
]
