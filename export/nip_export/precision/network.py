"""A backbone in onnxruntime at work on arrays: passes that need no gradients, as the file will do them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime

from nip_export.attach.backbone import Backbone
from nip_export.attach.writing import serialise
from nip_export.data.inputs import Inputs
from nip_export.network import pool_activation_numpy
from nip_export.network.grain import pooled_grain
from nip_export.network.run import Floats, Passed, TapCells
from nip_export.support.batches import Batches
from nip_export.support.progress import Advance


class OnnxBackbone:
    """A backbone in onnxruntime, on the CPU: the passes of :func:`nip_export.network.run.run_network`.

    Args:
        backbone: with a tap for every grid.
        grids: which taps to pool, and how.
        threads: that share the work.
    """

    def __init__(self, backbone: Backbone, grids: Sequence[TapCells], *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            serialise(backbone.model), options, providers=["CPUExecutionProvider"]
        )
        self._input = backbone.input
        named = dict(backbone.taps)
        self._grids = tuple(grids)
        self._outputs = [backbone.logits, *(named[grid.tap.name] for grid in self._grids)]

    def run(
        self,
        inputs: Inputs,
        *,
        batch_size: int,
        memory: int | None = None,
        advance: Advance | None = None,
    ) -> Passed:
        """One pass over (N, *shape) float32 inputs, N ≥ 1, in batches as for `run_network`."""
        logits: list[Floats] = []
        pooled: dict[str, list[Floats]] = {}

        def work(rows: slice) -> None:
            batch = np.ascontiguousarray(inputs[rows])
            scores, *activations = self._session.run(self._outputs, {self._input: batch})
            logits.append(scores)
            vectors = dict(pooled_grain(batch))
            for grid, activation in zip(self._grids, activations, strict=True):
                found = pool_activation_numpy(activation, kind=grid.tap.kind, cells=grid.cells)
                vectors[grid.tap.name] = found.astype(np.float32)
            for name, rows_of in vectors.items():
                pooled.setdefault(name, []).append(rows_of)

        Batches(batch_size, inputs.shape[1:], memory=memory).run(len(inputs), work, advance)
        return Passed(np.concatenate(logits), {name: np.concatenate(parts) for name, parts in pooled.items()})
