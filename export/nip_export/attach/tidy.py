"""Names, dimension symbols and constants in a form that depends on the model alone, not on machine or run."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

GENERATED = re.compile(r"^(val|_val|const|.*lifted_tensor.*)_?\d*(_.*)?$")
"""Names that the exporter makes up, as opposed to those of the user's parameters."""


def substitute_symbol(shape: ir.Shape, symbol: str, replacement: int | str | None) -> ir.Shape:
    """A copy of `shape` with one dimension symbol replaced, also inside expressions such as ``4*N``.

    Where `replacement` is None, every dimension that mentions the symbol becomes unknown; a number replaces
    the bare symbol and makes expressions unknown.
    """
    pattern = re.compile(rf"\b{re.escape(symbol)}\b")

    def renamed(dim: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
        if isinstance(dim, int) or dim.value is None or not pattern.search(dim.value):
            return dim
        if isinstance(replacement, str):
            return ir.SymbolicDim(pattern.sub(replacement, dim.value))
        return replacement if replacement is not None and dim.value == symbol else ir.SymbolicDim(None)

    return ir.Shape([renamed(dim) for dim in shape])


def batch_symbol(value: ir.Value) -> str | None:
    """The symbol of a value's first dimension, or None if that is fixed or unknown."""
    if value.shape is None or not len(value.shape):
        return None
    first = value.shape[0]
    return first.value if isinstance(first, ir.SymbolicDim) else None


class TidyPass(ir.passes.InPlacePass):
    """Give values, nodes, initializers and symbols stable names; drop everything that tells of the machine.

    Args:
        inputs: names for the graph's inputs, in order.
        outputs: names for the graph's outputs, in order.
        parameter_prefix: prefix of parameter names that the export wrapper added, to be taken off.
        batch: symbol for the batch dimension.
    """

    def __init__(
        self, *, inputs: Sequence[str], outputs: Sequence[str], parameter_prefix: str, batch: str
    ) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.parameter_prefix = parameter_prefix
        self.batch = batch

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename and strip in place."""
        graph = model.graph
        model.metadata_props.clear()
        model.doc_string = None
        graph.metadata_props.clear()
        graph.doc_string = None
        graph.name = "backbone"
        symbol = batch_symbol(graph.inputs[0])
        self._strip(graph, symbol)
        self._name_values(graph)
        self._name_initializers(graph)
        return ir.passes.PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Every value has a name of its own."""
        names = [value.name for value in all_values(model.graph)]
        if len(set(names)) != len(names):
            raise ir.passes.PostconditionError("two values share one name")

    def _strip(self, graph: ir.Graph, symbol: str | None) -> None:
        for node in graph:
            node.metadata_props.clear()
            node.meta.clear()
            node.doc_string = None
        for value in all_values(graph):
            value.metadata_props.clear()
            value.meta.clear()
            value.doc_string = None
            if value.shape is not None and symbol is not None:
                value.shape = substitute_symbol(value.shape, symbol, self.batch)

    def _name_values(self, graph: ir.Graph) -> None:
        for i, node in enumerate(graph):
            node.name = f"backbone/{node.op_type}_{i}"
            for k, value in enumerate(node.outputs):
                value.name = node.name if k == 0 else f"{node.name}_{k}"
        for value, name in zip((*graph.inputs, *graph.outputs), (*self.inputs, *self.outputs), strict=True):
            value.name = name

    def _name_initializers(self, graph: ir.Graph) -> None:
        taken = {value.name for value in all_values(graph) if not value.is_initializer()}
        # The mapping is keyed by name, so it is emptied and filled again rather than renamed under way.
        values = list(graph.initializers.values())
        graph.initializers.clear()
        for i, value in enumerate(values):
            name = (value.name or "").removeprefix(self.parameter_prefix)
            name = re.sub(r"\.weight_bias$", ".bias", name)
            if not name or GENERATED.match(name) or name in taken:
                name = f"backbone/constant_{i}"
            taken.add(name)
            value.name = name
            if value.const_value is not None:
                # A copy: the exporter's tensors are views of the user's parameters, which may train on.
                value.const_value = ir.tensor(np.array(value.const_value.numpy()), name=name)
            graph.register_initializer(value)


def all_values(graph: ir.Graph) -> list[ir.Value]:
    """Inputs, initializers and node outputs of a graph without subgraphs, each once."""
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    return list(dict.fromkeys(values))
