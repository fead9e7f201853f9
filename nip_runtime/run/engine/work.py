"""How much there is to compute, at the least, as far as a file states it."""

from __future__ import annotations

from math import prod
from typing import Final

from nip_runtime.file import names
from nip_runtime.file.manifest import Manifest
from nip_runtime.run.engine.cut import NodeIo, Sliceable

_WEIGHTED: Final = frozenset({"Conv", "Gemm", "MatMul"})
_PER_CORE: Final = 2e11
"""Multiply-adds of float32 that no core's vector units exceed in a second: two vectors of 16 in each cycle,
at 6 GHz. A core with a matrix unit may: then an engine is chosen that costs some microseconds more."""

Shape = tuple[int | str | None, ...]


def surely_longer(model: Sliceable, manifest: Manifest, least_us: float, *, threads: int) -> bool:
    """Whether no CPU with ``threads`` cores carries one row from input to raw logits in ``least_us``.

    Counted are products with float32 weights that the file stores, at the places that it states; whatever it
    leaves open counts once or not at all.

    Raises:
        ArtifactError: if the bytes are no model.
    """
    enough, counted = least_us * 1e-6 * _PER_CORE * threads, 0
    for node in model.between([manifest.input.name], [names.RAW_LOGITS]):
        counted += _multiply_adds(model, node)
        if counted >= enough:
            return True
    return False


def _multiply_adds(model: Sliceable, node: NodeIo) -> int:
    if node.operator not in _WEIGHTED or len(node.inputs) < 2 or not model.stores_float32(node.inputs[1]):
        return 0
    weights = _known(model.stated_shape(node.inputs[1]) or ())
    made = model.stated_shape(node.outputs[0]) or ()
    # Of (N, C, H, W) each weight is used H · W times, of (N, T, C) T times.
    match node.operator:
        case "Conv":
            return weights * _known(made[2:])
        case "MatMul":
            return weights * _known(made[1:-1])
    return weights


def _known(shape: Shape) -> int:
    return prod(size for size in shape if isinstance(size, int))
