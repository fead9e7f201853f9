"""Files to arrays: found, opened, decoded by OpenCV (images), libsndfile or numpy (``.npy``, ``.npz``)."""

from nip_runtime.inputs.images.arrays import array_shape, map_array, read_array
from nip_runtime.inputs.images.decode import (
    MOST_PIXELS,
    decode_image,
    quieten_opencv,
    read_image,
    resize_image,
)
from nip_runtime.inputs.images.find import ARRAY_SUFFIXES, IMAGE_SUFFIXES, find_files, suffixes_of
from nip_runtime.inputs.images.read import read_file, read_one, read_unjudged

__all__ = [
    "ARRAY_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MOST_PIXELS",
    "array_shape",
    "decode_image",
    "find_files",
    "map_array",
    "quieten_opencv",
    "read_array",
    "read_file",
    "read_image",
    "read_one",
    "read_unjudged",
    "resize_image",
    "suffixes_of",
]
