"""A thousand image files of which three can't be read, and among them an array file with a row of NaN."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.support.dependencies import load

MODEL: Final = Path(__file__).parents[2] / "goldens" / "guarded.onnx"
COUNT: Final = 1000
UNREADABLE: Final = (0, 317, 998)
"""Places of files that are no images: empty, the first half of one, and text."""
ARRAY_PLACE: Final = 500
ARRAY_ROWS: Final = 7
BAD_ROW: Final = 4


def thousand_images() -> NDArray[np.uint8]:
    """(1000, 28, 28) uint8, all different."""
    with np.load(MODEL.with_suffix(".npz")) as stored:
        some = stored["images"].reshape(-1, 28, 28)
    repeated: NDArray[np.uint8] = np.resize(some, (COUNT, 28, 28))
    repeated[:, 0, :4] = np.arange(COUNT).astype("<u4").view(np.uint8).reshape(COUNT, 4)
    return repeated


def write_thousand(folder: Path) -> None:
    """Write the files; sorted by name they are in the order of the images."""
    cv2: Any = load("cv2")
    images = thousand_images()
    for index, image in enumerate(images):
        content = bytes(cv2.imencode(".png", image)[1])
        if index in UNREADABLE:
            content = (b"", content[: len(content) // 2], b"<svg/>")[UNREADABLE.index(index)]
        (folder / f"{index:04}.png").write_bytes(content)
    rows = (images[:ARRAY_ROWS, None] / np.float32(255)).astype(np.float32)
    rows[BAD_ROW, 0, 20, 20] = np.nan
    np.save(folder / f"{ARRAY_PLACE:04}.npy", rows)


def expected_answers(labels: list[int]) -> list[tuple[str, int | None, int | None]]:
    """File, index and label of every input in order, from the images' labels; None where none is due."""
    lines: list[tuple[str, int | None, int | None]] = [
        (f"{index:04}.png", None, None if index in UNREADABLE else labels[index]) for index in range(COUNT)
    ]
    lines[ARRAY_PLACE:ARRAY_PLACE] = [
        (f"{ARRAY_PLACE:04}.npy", row, None if row == BAD_ROW else labels[row]) for row in range(ARRAY_ROWS)
    ]
    return lines
