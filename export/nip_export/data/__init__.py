"""Labelled images from disk and what calibration needs of them: reading, splitting, fingerprints."""

from nip_export.data.images import ImageSet, digest, to_model_input
from nip_export.data.reading import read_dataset
from nip_export.data.splits import stratified_split

__all__ = ["ImageSet", "digest", "read_dataset", "stratified_split", "to_model_input"]
