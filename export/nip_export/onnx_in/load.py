"""From a file to a network that an export can work on, compared with the file in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray

from nip_export.attach.backbone import export_backbone
from nip_export.attach.trace import exporter_silenced
from nip_export.network.rebuilt import OnnxNetwork
from nip_export.onnx_in.interface import Floats, Interface
from nip_export.onnx_in.normal import normal_form
from nip_export.onnx_in.reading import Source, read
from nip_export.support.device import usual_modes
from nip_runtime.errors import ExportError

ROWS = 3
"""Inputs that are compared: more than one, and no number that a file would have fixed."""
SUM_OF_PROBABILITIES = 1e-4
"""How far the sum of a row of probabilities may be from 1."""
PROBABILITIES = ("Exp", "LogSoftmax", "Sigmoid", "Softmax")
"""What probabilities are made with."""
SAME_GRAPH, SAME_REBUILD = 1e-5, 1e-4
"""How far the user's graph as it will be written, and its rebuild, may be from the file, over the scale of
what it answers."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A file and what was made of it.

    Attributes:
        source: the file.
        interface: how it is fed and read.
        network: the module.
        errors: how far the graph, as it will be written, and its rebuild are from the file's answers at most.
    """

    source: Source
    interface: Interface
    network: OnnxNetwork
    errors: tuple[float, float] = (0.0, 0.0)

    def answers(self, x: Floats) -> NDArray[np.float64]:
        """What the file itself answers in onnxruntime, (N, C) or (N, 1), softmax or sigmoid included.

        Args:
            x: (N, *shape) float32, as the bare network takes it.

        Raises:
            ExportError: onnxruntime cannot run it.
        """
        step = self.interface.rows or len(x)
        padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % step, axis=0)])
        name, output = self.interface.input, self.interface.output
        try:
            session = _session(self.source.content)
            parts = [
                session.run([output], {name: self.interface.given(padded[at : at + step])})[0]
                for at in range(0, len(padded), step)
            ]
        except Exception as error:  # onnxruntime's have no base class of their own
            reason = " ".join(str(error).split())[-300:]
            raise ExportError(f"onnxruntime cannot run {self.source.name} itself: {reason}") from error
        return np.concatenate(parts)[: len(x)].reshape(len(x), -1).astype(np.float64)


def from_onnx(
    source: str | Path | bytes,
    *,
    output: str | int | None = None,
    shape: Sequence[int] | None = None,
    is_bgr: bool = False,
) -> OnnxNetwork:
    """A classifier given as an ONNX file, as the module that :func:`nip_export.export_defended` takes.

    The file is of opset 7 or newer, with float32 or uint8 inputs, channels first or last. A fixed number of
    rows is freed where the graph allows, a last softmax or sigmoid is left out, and one score z becomes (−z,
    z); the notes say so. Defended files made of it hold the file's own graph, not the rebuild.

    Args:
        source: path of the file, or its bytes.
        output: name or index of the output that holds the scores, if there are several; or the name of a
            value inside the network, such as the one that probabilities are made of.
        shape: (C, H, W) of one input, or (H, W) alone, where the file leaves axes open.
        is_bgr: whether the file takes blue first: defended files take red first, as all images are read.

    Raises:
        ExportError: the file is no classifier of one input in standard operators, an operator has no rebuild
            in torch, or what was made of it does not answer as the file does.
        DependencyError: the extra ``onnx-in`` is not installed.
    """
    return opened(source, output=output, shape=shape, is_bgr=is_bgr).network


def opened(
    source: str | Path | bytes,
    *,
    output: str | int | None = None,
    shape: Sequence[int] | None = None,
    is_bgr: bool = False,
) -> Opened:
    """A file beside the network that was made of it; arguments and errors as for :func:`from_onnx`."""
    found = read(source, output=output)
    with usual_modes():
        graph, interface = normal_form(found, output=output, shape=shape, is_bgr=is_bgr)
        names = (interface.input, interface.output)
        network = OnnxNetwork(graph, shape=interface.shape, file=found.name, names=names).eval()
        pair = Opened(found, interface, network)
        errors = compared(pair)
    network.notes = (
        *_done(found, interface),
        f"compared with {found.name} in onnxruntime: the graph differs by {errors[0]:.1e}, its rebuild in "
        f"torch, which gives the gradients, by {errors[1]:.1e}",
    )
    return replace(pair, errors=errors)


def _done(source: Source, interface: Interface) -> list[str]:
    """What had to be done to the file, one sentence each."""
    notes = [f"the network is that of {source.name} (opset {source.opset}), its own graph on its own weights"]
    if interface.rows is not None:
        notes.append(f"the file takes batches of {interface.rows}: here of any size")
    if interface.channels_last:
        notes.append("the file takes (N, H, W, C): here (N, C, H, W)")
    if interface.is_uint8:
        notes.append("the file takes whole numbers in 0…255: here float32 in [0, 1]")
    if interface.is_bgr:
        notes.append("the file takes blue first: here red comes first")
    if interface.ending is not None:
        notes.append(f"the file ends in {interface.ending}: here it answers with the logits before it")
    if interface.binary:
        notes.append("the file answers one score z: here for two classes, with (−z, z)")
    return notes


def compared(pair: Opened) -> tuple[float, float]:
    """Compare the graph and its rebuild with the file, on noise.

    Raises:
        ExportError: onnxruntime cannot run the file, or another answer than the file's.
    """
    source, interface, network = pair.source, pair.interface, pair.network
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, *interface.shape))
    x = (noise / 255).astype(np.float32)
    wanted = pair.answers(x)
    try:
        with exporter_silenced(), torch.no_grad():  # torch.fx prints where a graph fails
            rebuilt = network(torch.from_numpy(x)).numpy()
            alone = network(torch.from_numpy(x[:1])).numpy()
        # As it will be written, so that what can't be is refused before images are read.
        backbone = export_backbone(network, torch.from_numpy(x), ())
        session = _session(ir.to_proto(backbone.model).SerializeToString())
        (graph,) = session.run(None, {backbone.input: x})
    except ExportError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[-300:]
        fixed = (
            f"it was made for batches of {interface.rows}, and its graph allows no others; export it anew "
            "with a dynamic batch axis"
            if interface.rows is not None
            else "please report the file"
        )
        raise ExportError(f"{source.name} cannot be run at {ROWS} rows: {fixed} ({reason})") from error
    _refuse_probabilities(pair, rebuilt)
    scale = max(1.0, float(np.abs(wanted).max()))
    errors = []
    for who, logits, rows, most in (
        ("the graph", graph, wanted, SAME_GRAPH),
        ("its rebuild in torch", rebuilt, wanted, SAME_REBUILD),
        ("its rebuild in torch", alone, wanted[:1], SAME_REBUILD),
    ):
        gap = _error(interface.answered(logits), rows)
        if not gap <= most * scale:
            raise ExportError(
                f"{who} made of {source.name} answers {gap:.3g} off what the file does in onnxruntime, "
                f"expected at most {most * scale:.3g}; export it anew with a dynamic batch axis, or please "
                "report the file"
            )
        errors.append(gap)
    return errors[0], max(errors[1:])


def _refuse_probabilities(pair: Opened, logits: Floats) -> None:
    """Refuse answers that are probabilities of the file's own making, and say what they are made of."""
    if logits.min() < 0 or np.abs(logits.sum(1) - 1).max() > SUM_OF_PROBABILITIES:
        return
    known = {name for node in pair.source.proto.graph.node for name in node.output}
    read = (
        (node.op_type, node.inputs[0].name)
        for node in reversed(pair.network.graph.graph)
        if node.op_type in PROBABILITIES and node.inputs[0] is not None and node.inputs[0].name in known
    )
    last, name = next(read, (None, None))
    hint = f"; its last {last} reads {name!r}" if last else ""
    raise ExportError(
        f"{pair.source.name} answers with probabilities that it makes in its own way, expected logits; name "
        f"the value that they are made of in output (--output NAME){hint}"
    )


def _error(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
