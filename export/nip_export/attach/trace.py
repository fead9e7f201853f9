"""A torch network, its normalisation and its taps, through torch's exporter once."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import onnx_ir as ir
import torch
from torch import Tensor

from nip_export.attach.opset import SOURCE_OPSET
from nip_export.network.tapped import TappedNetwork
from nip_runtime.errors import ExportError

BATCH = "N"
CHATTERING_LOGGERS = ("torch", "onnxscript", "onnx_ir")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
"""Colour codes, which torch's exporter puts into its messages."""
NO_FORM = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'")


@contextmanager
def exporter_silenced() -> Iterator[None]:
    """Hold back the exporter's warnings, log lines and graph dumps; what matters becomes an ExportError."""
    loggers = [logging.getLogger(name) for name in CHATTERING_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        # torch.export prints the graph so far to stderr when it meets data-dependent control flow.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def explain(error: Exception, program: torch.export.ExportedProgram | None = None) -> str:
    """What in the user's model stopped the exporter.

    Args:
        error: that of the exporter.
        program: the model as torch traced it, if it got that far.
    """
    raised = list(_causes(error))
    kinds = " ".join(cls.__name__ for cls in type(error).__mro__)
    text = ESCAPES.sub("", str(error))
    operator = next((found[1] for each in raised if (found := NO_FORM.search(str(each)))), None)
    if operator is not None:
        return (
            f"ONNX has no form of {operator.rpartition('.')[2]} as {_user(operator, program)} uses it; "
            "express it by other layers"
        )
    if "DataDependent" in kinds or "data-dependent" in text.lower():
        return (
            "its control flow or a shape depends on the values of the input (an `if` on a tensor, `.item()`, "
            "boolean indexing); make it compute the same steps for every input, for instance with torch.where"
        )
    if "ConstraintViolation" in kinds or "onstraints violated" in text or "specialized" in text:
        return (
            "it works for one batch size or for some only (a fixed number in view/reshape, or an `if` on the "
            "batch size); use x.shape[0] or -1 for the batch dimension"
        )
    # Torch's wrappers say how to report it; the innermost error says what happened.
    first = raised[-1] if "ConversionError" in kinds else error
    lines = (line.strip() for line in ESCAPES.sub("", str(first)).splitlines())
    return f"{type(first).__name__}: {next((line for line in lines if line), 'no reason given')}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__


def _user(operator: str, program: torch.export.ExportedProgram | None) -> str:
    """Which layer calls an operator, as far as the trace tells."""
    for node in program.graph.nodes if program is not None else ():
        stack = node.meta.get("nn_module_stack")
        if stack and str(node.target).startswith(operator):
            path = str(list(stack.values())[-1][0])
            layer = path.removeprefix("L['self'].").removeprefix("model.")
            return f"layer {layer!r}" if layer not in ("", "model") else "the model itself"
    return "the model"


def trace(network: TappedNetwork, example: Tensor) -> ir.Model:
    """One pass through torch's exporter, to ONNX of opset 18 as the exporter optimises it.

    Raises:
        ExportError: the exporter cannot follow the model.
    """
    program: torch.export.ExportedProgram | None = None
    try:
        with exporter_silenced(), torch.no_grad():
            # Traced here, not by torch.onnx.export, which retries with other tracers and hides the cause.
            program = torch.export.export(
                network, (example,), dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},), strict=False
            )
            exported = torch.onnx.export(
                program, (example,), dynamo=True, opset_version=SOURCE_OPSET, optimize=True, verbose=False
            )
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"the model cannot be exported: {explain(error, program)}") from error
    if exported is None:
        raise ExportError("torch's exporter returned no program; expected torch 2.9 or newer")
    model: ir.Model = exported.model
    return model
