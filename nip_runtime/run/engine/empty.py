"""Whether a file, run as it is, may end the process: some operators of onnxruntime do when they get no rows.

Where the screen picks no row, the second pass of the whole graph has none. Files with a padding row are
beyond that, and so is the gated engine, which then leaves the pass out.
"""

from __future__ import annotations

from nip_runtime.errors import ArtifactError
from nip_runtime.file import names
from nip_runtime.file.allowed import FATAL_WHEN_EMPTY
from nip_runtime.file.manifest import Manifest
from nip_runtime.run.engine.cut import NodeIo, Sliceable

_MATRIX = 2


def has_padding_row(manifest: Manifest) -> bool:
    """Whether some row takes the second pass in every batch, as the manifest has it."""
    return manifest.second_pass is not None and manifest.second_pass.padding_row


def fatal_without_rows(model: Sliceable, manifest: Manifest) -> str | None:
    """The operator with which the file as it is may end the process; None where there is none.

    Args:
        model: the file.
        manifest: of it.

    Raises:
        ArtifactError: the bytes are no model.
    """
    if manifest.defence.screen_threshold is None or has_padding_row(manifest):
        return None
    if {names.PERTURBED, names.SECOND_LOGITS} <= model.computed:
        nodes = model.between([names.PERTURBED], [names.SECOND_LOGITS])
    else:  # an early version's file, which calls them otherwise
        nodes = model.between([manifest.input.name], [manifest.output.name])
    for node in nodes:
        if node.operator in FATAL_WHEN_EMPTY or (node.operator == "MatMul" and _divides(model, node)):
            return node.operator
    return None


def check_whole(model: Sliceable, manifest: Manifest) -> None:
    """Refuse to run, as it is, a file that may end the process.

    Raises:
        ArtifactError: naming the operator.
    """
    operator = fatal_without_rows(model, manifest)
    if operator is not None:
        raise ArtifactError.mismatch(
            expected="a second pass that onnxruntime survives where the screen picks no row",
            got=f"one with {operator}, which then may end the process",
            fix="take engine gated, or export the model again with this version",
        )


def _divides(model: Sliceable, node: NodeIo) -> bool:
    """Whether a stack of products has the rows within its matrices: it divides by their number."""
    shapes = [model.stated_shape(name) or _first_pass(model, name) for name in node.inputs]
    stacked = [shape for shape in shapes if shape is not None and len(shape) > _MATRIX]
    return len(stacked) == len(shapes) and any(
        not isinstance(length, int) for shape in stacked for length in shape[-_MATRIX:]
    )


def _first_pass(model: Sliceable, name: str) -> tuple[int | str | None, ...] | None:
    """The shape of the same value in the first pass, which the file states more often."""
    return model.stated_shape(name.removeprefix(names.SECOND_PASS))
