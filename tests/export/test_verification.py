"""Verification is worth something only if it fails: here every constant of a finished graph is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from nip_export import export_defended, pipeline
from nip_export.calibrate import absent
from nip_runtime.errors import ExportError
from tests.export.made import Workshop
from tests.export.networks import net

HARMLESS = {
    "nip/nothing",  # stands for −∞
    "nip/plenty",  # stands for +∞
    "nip/one",  # a cap on rounding errors of the suspicion
    "nip/highest",  # where no verification input gets that high
}
"""Constants that may be changed without changing any answer of the verification."""
THRESHOLDS = {
    "nip/flag_threshold",
    "nip/screen_threshold",
    "nip/response_inverse_std",
    "nip/response_tail_base",
    "nip/response_tail_knots",
    "nip/response_tail_slopes",
    "nip/response_tail_widths",
    "nip/disagreement_tail_base",
    "nip/typicality_tail_base",
    "nip/least_change",
    "nip/change_mean",
    "nip/change_inverse_std",
    "nip/change_tail_base",
    "nip/change_tail_knots",
    "nip/change_tail_slopes",
    "nip/change_tail_widths",
}
"""Constants that decide for or against a row, or count for little in the suspicion: noticed once they are far
enough off to turn a row over."""

ROUGH = {
    "nip/screen_threshold",  # can be far off before one of the 17 rows verified lies between
    "nip/least_change",  # a thousandth of a probability
    "nip/change_tail_base",  # 0.02, half of what nine of ten benign rows exceed
    "nip/response_tail_widths",  # raises only scores that are among the highest already
    "nip/change_tail_widths",  # likewise
}
"""Of these, those that may be off by more."""


class Verification:
    """The verification of one export, to be repeated with other files."""

    def __init__(self, workshop: Workshop, folder: Path, name: str, policy: str) -> None:
        case, self.folder = net(name), folder
        self.arguments: tuple[Any, ...] = ()
        self.content = b""
        images, labels = case.split("calibration", 900)
        self._verify = pipeline.verify
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "verify", self._keep)
            # Every class keeps statistics of its own, so that a change of them can show.
            patch.setattr(absent, "RARE_SHARE", 0.0)
            export_defended(
                workshop.trained(name), images, labels, folder / "m.onnx", config=case.config(policy=policy)
            )

    def _keep(self, bench: Any, spec: Any, path: Path, perturbed: Any, forward: Any) -> Any:
        self.arguments, self.content = (bench, spec, perturbed, forward), path.read_bytes()
        return self._verify(bench, spec, path, perturbed, forward)

    def __call__(self, model: onnx.ModelProto) -> None:
        bench, spec, perturbed, forward = self.arguments
        path = self.folder / "changed.onnx"
        path.write_bytes(model.SerializeToString())
        self._verify(bench, spec, path, perturbed, forward)


def changed(array: NDArray[Any], factor: float) -> NDArray[Any]:
    """The array with every entry moved: multiplied, or where it is nothing, raised."""
    if array.dtype.kind == "f":
        most = np.finfo(array.dtype).max / 10  # a width without limit gets another limit
        moved = np.clip(array, -most, most) * factor + (array == 0) * (factor - 1)
    else:
        moved = np.clip(array * factor + factor * (array == 0), -127, 127)
    result: NDArray[Any] = moved.astype(array.dtype)
    return result


def unnoticed(verification: Verification, factor: float) -> set[str]:
    """Names of the constants that verification lets pass after a change."""
    original = onnx.load_from_string(verification.content)
    verification(original)  # the export's own verification, repeated, passes
    passed, tried = set(), 0
    for index, initializer in enumerate(original.graph.initializer):
        array = numpy_helper.to_array(initializer)
        if array.dtype == np.int64:  # axes and shapes: the graph would not run, or mean something else
            continue
        copy = onnx.ModelProto()
        copy.CopyFrom(original)
        altered = numpy_helper.from_array(changed(array, factor), initializer.name)
        copy.graph.initializer[index].CopyFrom(altered)
        tried += 1
        try:
            verification(copy)
        except ExportError as error:
            assert "differs from" in str(error) or "another class" in str(error)
        else:
            passed.add(initializer.name)
    assert tried > 20
    return passed


@pytest.mark.parametrize(
    ("name", "policy"), [("mlp", "guarded"), ("tiny", "guarded"), ("tiny", "always"), ("mlp", "detect")]
)
def test_changed_constants_are_noticed(workshop: Workshop, tmp_path: Path, name: str, policy: str) -> None:
    verification = Verification(workshop, tmp_path, name, policy)
    assert unnoticed(verification, 1.1) <= HARMLESS | THRESHOLDS
    if policy == "guarded":  # of the others a tenth more alone, which is harder to notice
        assert unnoticed(verification, 3) <= HARMLESS | ROUGH
