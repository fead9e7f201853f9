"""A trial export of the untouched network: what can't be exported is told in seconds, not after hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from nip_export.attach.backbone import ROW_TOLERANCE, Backbone
from nip_export.attach.empty import needs_a_row
from nip_export.attach.writing import serialise
from nip_export.network import evaluation_mode
from nip_export.network.tapped import TappedNetwork
from nip_runtime.errors import ExportError

BATCHES = (1, 3)


@dataclass(frozen=True)
class Trial:
    """The network as a graph, and what trying it showed.

    Attributes:
        backbone: the network in float32 with all its taps. The file is made from it: torch's exporter, which
            takes seconds, runs once.
        needs_a_row: what keeps the network from being run on no rows: an operator, or what onnxruntime said;
            None if it can be.
    """

    backbone: Backbone
    needs_a_row: str | None


def try_out(backbone: Backbone, network: TappedNetwork, example: torch.Tensor) -> Trial:
    """Run a backbone in onnxruntime, at 1 and 3 rows and, where no process dies of it, at none.

    Args:
        backbone: the network as exported, with all its taps.
        network: the same in torch, with the same taps.
        example: (N, *shape) float32, N ≥ 1, on the network's device.

    Raises:
        ExportError: onnxruntime can't run it, or computes something else than torch.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    named = [(backbone.logits, "logits")]
    # The taps come first: the earliest value that differs is nearest to the cause.
    named = [(value, f"output of layer {layer!r}") for layer, value in backbone.taps] + named
    values = [value for value, _ in named]
    try:
        session = onnxruntime.InferenceSession(
            serialise(backbone.model), options, providers=["CPUExecutionProvider"]
        )
        for batch in BATCHES:
            rows = torch.cat([example] * -(-batch // len(example)))[:batch]
            with evaluation_mode(network), torch.no_grad():
                logits, *taps = (value.cpu().numpy() for value in network(rows))
            found = session.run(values, {backbone.input: rows.cpu().numpy()})
            for (_, name), ours, theirs in zip(named, found, (*taps, logits), strict=True):
                _check_same(name, ours, theirs, batch)
    except ExportError:
        raise
    except Exception as error:  # onnxruntime's have no base class of their own
        raise ExportError(
            f"expected onnxruntime to run the exported network, got: {told(error)}; replace the layer that "
            "this names, or report the model"
        ) from error
    outputs = [backbone.value(value) for value in values]
    reason = needs_a_row(backbone.model.graph, backbone.value(backbone.input), outputs)
    if reason is None:
        try:
            session.run(values, {backbone.input: np.zeros((0, *example.shape[1:]), np.float32)})
        except Exception as error:
            reason = told(error)
    return Trial(backbone, reason)


def told(error: Exception) -> str:
    """What onnxruntime says, on one line, from where it says what is wrong."""
    return " ".join(str(error).split()).rpartition("Status Message: ")[2][:300]


def _check_same(name: str, ours: NDArray[np.floating], theirs: NDArray[np.floating], batch: int) -> None:
    if ours.shape != theirs.shape:
        raise ExportError(
            f"onnxruntime gives the {name} as {ours.shape} at batch {batch}, torch as {theirs.shape}; please "
            "report the model"
        )
    error = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0))
    most = ROW_TOLERANCE * max(1.0, float(np.abs(theirs).max(initial=0)))
    if not error <= most:
        raise ExportError(
            f"onnxruntime differs from torch by {error:.3g} in the {name} at batch {batch}, expected at most "
            f"{most:.3g}; please report the model"
        )
