"""A second pass through the backbone: its nodes again, from another input, on the same weights."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nip_export.attach.tidy import all_values, batch_symbol, substitute_symbol
from nip_runtime.errors import ExportError


class CloneSubgraphPass(ir.passes.InPlacePass):
    """Append a copy of the nodes between a source value and some outputs, fed by another value.

    Only nodes that depend on the source and that the outputs need are copied; whatever is computed from
    constants alone, and every initializer, is shared. The copies stand at the end of the graph, ordered
    like their originals, and their values carry the originals' types and shapes with the batch symbol of the
    new input: its rows need not be as many as the source's.

    After the pass, `clones` maps each requested output to its copy. The graph's outputs are left as they are.

    Args:
        source: name of the value to start from, usually the graph's input.
        outputs: names of the values to copy.
        new_input: value of the same graph that takes the place of `source`. If it has no type or shape, it
            gets those of the source.
        prefix: put before the names of copied nodes and values.
        batch: batch symbol of the copies where `new_input` has no shape of its own; default: the source's.

    Raises:
        ExportError: a name is unknown, an output does not depend on the source, the new input does not fit it
            or stands in another graph, or the prefix has been used before.
    """

    def __init__(
        self,
        *,
        source: str,
        outputs: Sequence[str],
        new_input: ir.Value,
        prefix: str,
        batch: str | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.outputs = tuple(outputs)
        self.new_input = new_input
        self.prefix = prefix
        self.batch = batch
        self.clones: dict[str, ir.Value] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Check the request against the graph, then append the copies."""
        graph = model.graph
        values = {value.name: value for value in all_values(graph)}
        missing = [name for name in (self.source, *self.outputs) if name not in values]
        if missing:
            raise ExportError(f"the graph has no values named {', '.join(missing)}; expected backbone values")
        source = values[self.source]
        self._fit_new_input(source, graph)
        nodes = path_nodes(graph, source, [values[name] for name in self.outputs])
        taken = {f"{self.prefix}{value.name}" for node in nodes for value in node.outputs} & values.keys()
        if taken or not self.prefix:
            raise ExportError(f"prefix {self.prefix!r} gives names the graph already has; choose another")
        copied, copies = self._copy(nodes, source)
        unreached = [name for name in self.outputs if values[name] not in copies]
        if unreached:
            raise ExportError(
                f"{', '.join(unreached)} do not depend on {self.source!r}, so they need no copy"
            )
        graph.extend(copied)
        self.clones = {name: copies[values[name]] for name in self.outputs}
        return ir.passes.PassResult(model, modified=bool(nodes))

    def ensures(self, model: ir.Model) -> None:
        """Every copy belongs to the model's graph."""
        for name, value in self.clones.items():
            if value.graph is not model.graph:
                raise ir.passes.PostconditionError(f"the copy of {name!r} is not in the graph")

    def _fit_new_input(self, source: ir.Value, graph: ir.Graph) -> None:
        new = self.new_input
        if new.graph is not graph:
            raise ExportError(f"new input {new.name!r} does not belong to the graph; add its node first")
        new.type = new.type if new.type is not None else source.type
        if new.shape is None and source.shape is not None:
            symbol = batch_symbol(source)
            new.shape = source.shape.copy()
            if symbol is not None and self.batch is not None:
                new.shape = substitute_symbol(new.shape, symbol, self.batch)
        if new.dtype != source.dtype:
            raise ExportError(f"expected a new input of type {source.dtype}, got {new.dtype}")
        if source.shape is None or new.shape is None:
            return
        # The batch may differ: that is what a second pass on selected rows is for.
        fits = len(source.shape) == len(new.shape) and all(
            a == b
            for a, b in zip(source.shape[1:], new.shape[1:], strict=True)
            if isinstance(a, int) and isinstance(b, int)
        )
        if not fits:
            raise ExportError(f"expected a new input of shape {source.shape}, got {new.shape}")

    def _copy(
        self, nodes: Sequence[ir.Node], source: ir.Value
    ) -> tuple[list[ir.Node], dict[ir.Value, ir.Value]]:
        symbol = batch_symbol(source)
        rows = self.new_input.shape[0] if self.new_input.shape else None
        replacement = rows.value if isinstance(rows, ir.SymbolicDim) else rows
        copied: list[ir.Node] = []
        copies = {source: self.new_input}
        for node in nodes:
            copy = ir.Node(
                node.domain,
                node.op_type,
                [copies.get(value, value) if value is not None else None for value in node.inputs],
                node.attributes.values(),
                num_outputs=len(node.outputs),
                version=node.version,
                name=f"{self.prefix}{node.name}",
            )
            for value, twin in zip(node.outputs, copy.outputs, strict=True):
                # An omitted optional output has the empty name, and must keep it.
                twin.name = f"{self.prefix}{value.name}" if value.name else value.name
                twin.type = value.type
                if value.shape is not None:
                    shape = value.shape.copy()
                    twin.shape = shape if symbol is None else substitute_symbol(shape, symbol, replacement)
                copies[value] = twin
            copied.append(copy)
        return copied, copies


def path_nodes(graph: ir.Graph, source: ir.Value, outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """Nodes on a path from `source` to any of `outputs`, in the graph's order."""
    reached = {source}
    downstream: list[ir.Node] = []
    for node in graph:
        if any(value in reached for value in node.inputs if value is not None):
            reached.update(node.outputs)
            downstream.append(node)
    needed = set(outputs)
    path: list[ir.Node] = []
    for node in reversed(downstream):
        if any(value in needed for value in node.outputs):
            needed.update(value for value in node.inputs if value is not None)
            path.append(node)
    path.reverse()
    return path


def clone_backbone(
    model: ir.Model,
    *,
    source_input: str,
    outputs: Sequence[str],
    new_input: ir.Value,
    prefix: str,
    batch: str | None = None,
) -> dict[str, ir.Value]:
    """Append a copy of the backbone that runs on `new_input`; see `CloneSubgraphPass`.

    Returns:
        For each name in `outputs`, the value that computes it from `new_input`.

    Raises:
        ExportError: as `CloneSubgraphPass`.
    """
    clone = CloneSubgraphPass(
        source=source_input, outputs=outputs, new_input=new_input, prefix=prefix, batch=batch
    )
    clone(model)
    return clone.clones
