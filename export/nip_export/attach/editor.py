"""Adding operators to a graph with names, types and shapes that a reader can follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from nip_export.attach.names import PICKED, PLACES
from nip_export.attach.tidy import all_values
from nip_export.defence.spec import ClassScale, Curve
from nip_runtime.errors import ExportError
from nip_runtime.file import names

NOTHING = -1e30
"""Stands for −∞ in comparisons: below every logit, and finite so that it survives arithmetic."""
PLENTY = -NOTHING
"""Its counterpart above every logit."""
UNLIMITED = float(np.finfo(np.float32).max)

Dim = int | str


class GraphEditor:
    """Appends nodes to a graph; every node is named after the value it computes.

    Args:
        graph: the graph to extend.
        scope: put before the names of values that are given none.
    """

    def __init__(self, graph: ir.Graph, *, scope: str) -> None:
        self.graph = graph
        self._scope = scope
        self._values = {value.name: value for value in all_values(graph)}
        self._count = 0

    def value(self, name: str) -> ir.Value:
        """The graph's value of this name.

        Raises:
            ExportError: there is none; the pass that computes it must run before.
        """
        if name not in self._values:
            raise ExportError(f"the graph has no value named {name!r}; the pass that computes it has not run")
        return self._values[name]

    def op(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        dtype: ir.DataType | None = None,
        shape: Sequence[Dim] | None = None,
    ) -> ir.Value:
        """Append one operator of the standard domain and return what it computes.

        Args:
            operator: its type.
            inputs: its inputs.
            attributes: its attributes.
            name: of the result; by default one made of scope and number.
            dtype: of the result; by default that of the first input.
            shape: of the result, if it is known.
        """
        if name is None:
            self._count += 1
            name = f"{self._scope}/{operator.lower()}_{self._count}"
        node = ir.node(operator, inputs, attributes or {}, name=name)
        result = node.outputs[0]
        result.name = name
        first = inputs[0]
        kind = dtype if dtype is not None or first is None else first.dtype
        if kind is not None:
            result.dtype = kind
        if shape is not None:
            result.shape = ir.Shape(shape)
        self.graph.append(node)
        self._values[name] = result
        return result

    def constant(self, name: str, values: Any, dtype: type[np.generic] = np.float32) -> ir.Value:
        """An initializer `nip/…`; asking again for one name gives the same value."""
        full = f"nip/{name}"
        if full in self._values:
            return self._values[full]
        array = np.array(values, dtype, order="C")  # not ascontiguousarray: it makes a scalar a vector
        value = ir.val(full, const_value=ir.tensor(array, name=full))
        self.graph.register_initializer(value)
        self._values[full] = value
        return value

    @property
    def rows_axis(self) -> str:
        """Symbol of the rows that take the second pass: all of them unless there is a screen."""
        return names.SCREENED_ROWS if names.ROWS in self._values else names.BATCH_AXIS

    def taken(self, name: str) -> ir.Value:
        """The value of this name, under a screen only its screened rows."""
        if names.ROWS not in self._values:
            return self.value(name)
        short = f"nip/taken/{name.removeprefix('nip/')}"
        if short in self._values:
            return self._values[short]
        return self.op("Gather", [self.value(name), self.value(names.ROWS)], {"axis": 0}, name=short)

    def put_back(
        self,
        rows: ir.Value,
        among: str,
        *,
        name: str,
        dtype: ir.DataType | None = None,
        padding_row: bool = False,
    ) -> ir.Value:
        """What was computed for the rows of the second pass, under a screen among the others' values.

        Args:
            rows: (rows, …) values; without a screen they get the name themselves.
            among: name of the (N, …) values that the others have.
            name: of the result.
            dtype: of the result; by default that of `rows`.
            padding_row: whether a row that the screen did not pick may be among `rows`; it keeps its value.
        """
        if names.ROWS not in self._values:
            rows.name = name
            self._values[name] = rows
            return rows
        if PLACES not in self._values:
            axis = self.constant("class_axis", [1], np.int64)
            self.op("Unsqueeze", [self.value(names.ROWS), axis], name=PLACES)
        if padding_row:
            if PICKED not in self._values:
                self.column(self.taken(names.SCREENED), name=PICKED)
            rows = self.op("Where", [self.value(PICKED), rows, self.taken(among)], dtype=rows.dtype)
        places = self.value(PLACES)
        return self.op("ScatterND", [self.value(among), places, rows], name=name, dtype=dtype)

    def row_is_predicted(self, count: int) -> ir.Value:
        """(rows, C) bool: the predicted class's column, for the rows of the second pass."""
        predicted = self.taken(names.PREDICTED)
        return self.is_class(predicted, count, name=f"{predicted.name}_column")

    def is_class(self, classes: ir.Value, count: int, *, name: str) -> ir.Value:
        """(rows, C) bool: the column of each row's class, for classes (rows, 1)."""
        if name in self._values:
            return self._values[name]
        columns = self.constant("classes", np.arange(count)[None], np.int64)
        return self.op("Equal", [columns, classes], name=name, dtype=ir.DataType.BOOL)

    def own(self, values: ir.Value, predicted: ir.Value) -> ir.Value:
        """The predicted class's entry (N, 1) of (N, C) values, for predicted classes (N, 1)."""
        return self.op("GatherElements", [values, predicted], {"axis": 1})

    def without(self, values: ir.Value, is_predicted: ir.Value) -> ir.Value:
        """(N, C) values with the predicted class's entry below all others."""
        nothing = self.constant("nothing", NOTHING)
        return self.op("Where", [is_predicted, nothing, values], dtype=values.dtype)

    def column(self, values: ir.Value, *, name: str | None = None) -> ir.Value:
        """(N,) of (N, 1) values."""
        return self.op("Squeeze", [values, self.constant("class_axis", [1], np.int64)], name=name)

    def largest(self, values: ir.Value) -> ir.Value:
        """The largest entry (N, 1) of each row."""
        return self.op("ReduceMax", [values], {"axes": [1], "keepdims": 1})

    def standardise(
        self, values: ir.Value, scale: ClassScale, predicted: ir.Value, *, label: str, name: str | None = None
    ) -> ir.Value:
        """(N, K) values by the statistics of the predicted classes (N, 1)."""
        one = scale.mean.shape[1] == 1
        mean, inverse_std = (
            # A single statistic per class is stored flat: gathered by (N, 1) classes it comes as (N, 1).
            self.constant(f"{label}_{what}", table.reshape(-1) if one else table)
            for what, table in (("mean", scale.mean), ("inverse_std", scale.inverse_std))
        )
        if scale.per_class:
            rows = predicted if one else self.column(predicted)
            mean = self.op("Gather", [mean, rows], {"axis": 0})
            inverse_std = self.op("Gather", [inverse_std, rows], {"axis": 0})
        return self.op("Mul", [self.op("Sub", [values, mean]), inverse_std], name=name)

    def curve(
        self, values: ir.Value, curve: Curve, *, label: str, name: str | None = None, flat: bool = False
    ) -> ir.Value:
        """A curve over (N, 1) values: (N, 1), or `flat` (N,)."""
        widths = np.minimum(curve.widths, UNLIMITED)
        above = self.op("Sub", [values, self.constant(f"{label}_knots", curve.knots)])
        above = self.op("Max", [above, self.constant("zero", 0.0)])
        steps = self.op("Min", [above, self.constant(f"{label}_widths", widths)])
        slopes = self.constant(f"{label}_slopes", curve.slopes[:, None])
        base = self.constant(f"{label}_base", [curve.base])
        if flat:  # not a product with a vector: onnxruntime refuses that for a batch of no rows
            return self.column(self.op("Gemm", [steps, slopes, base]), name=name)
        return self.op("Gemm", [steps, slopes, base], name=name)
