"""Every wrong or odd file has a defined answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.abuse.inputs.array_files import ARRAY_FILES
from tests.abuse.inputs.file_case import FileCase, file_complaint
from tests.abuse.inputs.image_files import IMAGE_FILES

pytest.importorskip("cv2")


@pytest.mark.parametrize(
    "case", [*IMAGE_FILES, *ARRAY_FILES], ids=lambda case: f"{case.name}{case.suffix}".replace("\0", "0")
)
def test_the_answer_is_the_defined_one(case: FileCase, tmp_path: Path) -> None:
    if case.module:
        pytest.importorskip(case.module)
    assert file_complaint(case, tmp_path) is None


def test_names_are_unique() -> None:
    names = [(case.name, case.suffix) for case in (*IMAGE_FILES, *ARRAY_FILES)]
    assert len(names) == len(set(names))
