"""Files to arrays: found, opened, decoded by OpenCV (images), libsndfile or numpy (``.npy``, ``.npz``)."""

from nip_runtime.inputs.images.arrays import array_shape, decode_array, map_array, read_array
from nip_runtime.inputs.images.decode import (
    MOST_PIXELS,
    decode_image,
    quieten_opencv,
    read_image,
)
from nip_runtime.inputs.images.find import ARRAY_SUFFIXES, IMAGE_SUFFIXES, find_files, suffixes_of
from nip_runtime.inputs.images.read import read_file, read_one, read_unjudged
from nip_runtime.inputs.images.resize import crop_image, fit_image, fit_images, needs_fitting, resize_image

__all__ = [
    "ARRAY_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MOST_PIXELS",
    "array_shape",
    "crop_image",
    "decode_array",
    "decode_image",
    "find_files",
    "fit_image",
    "fit_images",
    "map_array",
    "needs_fitting",
    "quieten_opencv",
    "read_array",
    "read_file",
    "read_image",
    "read_one",
    "read_unjudged",
    "resize_image",
    "suffixes_of",
]
