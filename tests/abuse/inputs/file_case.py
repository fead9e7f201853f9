"""One file that someone names as input, and what is defined to come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.file.manifest import InputSpec, Layout
from nip_runtime.inputs.images import read_unjudged

SPEC: Final = InputSpec(
    name="input",
    shape=(3, 28, 24),
    layout=Layout.NCHW,
    bounds=(0.0, 1.0),
    mean=None,
    std=None,
    resize=None,
)
"""Of the model that the files are for: RGB, higher than wide."""
_RNG: Final = np.random.default_rng(0)
SMOOTH: Final = np.stack(
    [np.add.outer(np.arange(28), np.arange(24)) * 4 + 20 * channel for channel in range(3)], axis=-1
).astype(np.uint8)
"""(28, 24, 3) uint8, a slope that JPEG keeps within a few levels."""
PIXELS: Final = _RNG.integers(0, 256, (28, 24, 3), np.uint8)
"""(28, 24, 3) uint8, noise, for formats without loss."""


@dataclass(frozen=True, kw_only=True)
class FileCase:
    """A file for a model with input ``SPEC``.

    Attributes:
        name: says what is wrong or odd; the file is named after it.
        suffix: of the file.
        place: puts it at the path that it gets, and returns the path to be read.
        error: words of the error; "" if it is read.
        content: what is read, (1, 28, 24, 3) or (N, …). Beside an error: either of the two, as OpenCV's
            version has it.
        within: levels by which what is read may differ.
        module: a package that ``place`` needs.
    """

    name: str
    suffix: str
    place: Callable[[Path], Path]
    error: str = ""
    content: NDArray[Any] | None = None
    within: int = 0
    module: str = ""

    def put(self, folder: Path) -> Path:
        """Put the file into a folder."""
        return self.place(folder / f"{self.name}{self.suffix}")


def of_bytes(make: Callable[[], bytes]) -> Callable[[Path], Path]:
    """Places a file with this content."""

    def place(path: Path) -> Path:
        path.write_bytes(make())
        return path

    return place


def file_complaint(case: FileCase, folder: Path) -> str | None:
    """Read the file; says what was not as defined, None if all was."""
    path = case.put(folder)
    try:
        found = read_unjudged(path, SPEC)
    except InputError as error:
        if not case.error or case.error not in str(error) or "\n" in str(error):
            return str(error)
        return None
    except BaseException as error:  # whatever it is: nothing else is defined
        return f"{type(error).__name__}: {error}"
    if case.content is None:
        return f"read as {found.dtype} {found.shape}"
    if found.shape != case.content.shape or found.dtype != case.content.dtype:
        return f"read as {found.dtype} {found.shape}, not {case.content.dtype} {case.content.shape}"
    furthest = np.abs(found.astype(float) - case.content).max(initial=0)
    return f"read {furthest} levels off" if furthest > case.within else None
