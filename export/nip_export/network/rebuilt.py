"""A network rebuilt in torch from its ONNX graph: one module per operator, named as the graph names it."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from nip_runtime.errors import ExportError
from nip_runtime.support.dependencies import load

NOT_IN_NAMES = re.compile(r"[.:#\s]+")
"""What names of places and of modules use themselves."""


@dataclass(frozen=True)
class Step:
    """One operator at work.

    Attributes:
        module: name of the module that computes it.
        reads: names of the values it is given, weights left out.
        makes: names of the values it makes; "" for one that nobody asks for.
    """

    module: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


class OnnxNetwork(nn.Module):
    """A classifier that was an ONNX file, as a module from (N, *shape) float32 to logits (N, C).

    In torch it serves for gradients. What an export writes is the graph itself.

    Attributes:
        graph: standard domain, input (N, *shape), the logits (N, C) as its one output.
        shape: of one input.
        file: name of the file.
        names: of the file's input and of its output with the scores.
        notes: what was done to the file's network, one sentence each.
    """

    def __init__(self, graph: ir.Model, *, shape: Sequence[int], file: str, names: tuple[str, str]) -> None:
        super().__init__()
        self.graph = graph
        self.shape = tuple(shape)
        self.file = file
        self.names = names
        self.notes: tuple[str, ...] = ()
        self._steps = tuple(self._build())
        self._places = {step.module: step for step in self._steps}

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxNetwork:
        """A copy with modules and weights of its own. The graph, which nobody changes, is shared: copied node
        by node along its links, one of some hundred operators would be too deep for Python."""
        made = OnnxNetwork.__new__(OnnxNetwork)
        memo |= {id(self): made, id(self.graph): self.graph}
        made.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C) float32.

        Args:
            x: (N, *shape) float32, as the bare network takes it: normalised where the file does not.
        """
        if tuple(x.shape[1:]) != self.shape:
            wanted, got = (", ".join(map(str, each)) for each in (self.shape, x.shape[1:]))
            raise ExportError(
                f"{self.file} takes inputs ({wanted}) per sample, got ({got}); bring the images to its size "
                "(--size HxW)"
            )
        values: dict[str, Tensor] = {str(self.graph.graph.inputs[0].name): x}
        for step in self._steps:
            made = self.get_submodule(step.module)(*(values[name] for name in step.reads))
            results = made if isinstance(made, tuple | list) else (made,)
            values.update({name: each for name, each in zip(step.makes, results, strict=False) if name})
        return values[str(self.graph.graph.outputs[0].name)]

    def value_at(self, module: str, *, at_input: bool) -> str:
        """Name of the value that a module makes, or of the first that it is given."""
        step = self._places[module]
        return step.reads[0] if at_input else step.makes[0]

    def _build(self) -> list[Step]:
        steps = []
        for node in self.graph.graph:
            name = self._free_name(node)
            reads = [v for v in node.inputs if v is not None and ir.convenience.get_const_tensor(v) is None]
            self.add_module(name, self._module(node, reads))
            steps.append(
                Step(
                    module=name,
                    reads=tuple(dict.fromkeys(str(value.name) for value in reads)),
                    makes=tuple(value.name or "" for value in node.outputs),
                )
            )
        return steps

    def _free_name(self, node: ir.Node) -> str:
        """The operator's name, or that of what it makes, as a module can have it."""
        name = NOT_IN_NAMES.sub("_", (node.name or node.outputs[0].name or node.op_type).strip("/"))
        while hasattr(self, name):
            name += "_"
        return name

    def _module(self, node: ir.Node, reads: Sequence[ir.Value]) -> nn.Module:
        """One operator in torch.

        Raises:
            ExportError: it has no rebuild.
        """
        linear = linear_of(node)
        if linear is not None:
            return linear
        convert = load("onnx2fx").convert
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rebuilt = convert(_alone(node, reads, opset=self.graph.opset_imports[""]))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ExportError(
                f"{self.file} uses {node.op_type}, which has no rebuild in torch, and profiles need "
                f"gradients ({type(error).__name__}: {reason}); export it anew without that operator, or "
                "pass the PyTorch model"
            ) from error
        return fx.GraphModule(rebuilt, rebuilt.graph, class_name=node.op_type)


def linear_of(node: ir.Node) -> nn.Linear | None:
    """A matrix product with stored weights as torch's own layer; None for all else."""
    if node.op_type != "Gemm" or node.inputs[0] is None:
        return None
    numbers = {name: attribute.value for name, attribute in node.attributes.items()}
    if numbers.get("transA", 0) or any(numbers.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return None
    stored = [ir.convenience.get_const_tensor(value) for value in node.inputs[1:] if value is not None]
    if not stored or any(tensor is None for tensor in stored):
        return None
    weight, *bias = (torch.from_numpy(np.array(tensor.numpy())) for tensor in stored if tensor is not None)
    weight = weight if numbers.get("transB", 0) else weight.T.contiguous()
    if weight.dtype != torch.float32 or any(each.numel() != len(weight) for each in bias):
        return None
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bool(bias))
    with torch.no_grad():
        linear.weight.copy_(weight)
        for each in bias:
            linear.bias.copy_(each.reshape(-1))
    return linear


def _alone(node: ir.Node, reads: Sequence[ir.Value], *, opset: int) -> onnx.ModelProto:
    """A model of one operator and its weights."""
    stored = {
        v.name: ir.convenience.get_const_tensor(v) for v in node.inputs if v is not None and v not in reads
    }
    weights = []
    for name, tensor in stored.items():
        if tensor is not None:
            weights.append(onnx.numpy_helper.from_array(np.array(tensor.numpy()), name))
    given = {value.name: _stated(value) for value in reads}
    made = [_stated(value) for value in node.outputs if value.name]
    graph = onnx.helper.make_graph([ir.to_proto(node)], node.op_type, list(given.values()), made, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def _stated(value: ir.Value) -> onnx.ValueInfoProto:
    """A value with its type, and its shape where that is known."""
    kind = value.dtype if value.dtype is not None else ir.DataType.FLOAT
    shape = None
    if value.shape is not None:
        shape = [length if isinstance(length, int) else length.value for length in value.shape]
    return onnx.helper.make_tensor_value_info(str(value.name), int(kind), shape)
