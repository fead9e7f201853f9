"""The view's check takes what the exporter writes for a view, and nothing that differs from it anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import onnx_ir as ir
import pytest

from nip_export.attach.editor import GraphEditor
from nip_export.attach.view import add_view
from nip_export.attach.writing import serialise
from nip_export.defence.views import SPATIAL_AXES, View, can_be_stored, menu
from nip_runtime.errors import ArtifactError
from nip_runtime.file.allowed import OPERATORS
from nip_runtime.file.artifact.view import check_view
from nip_runtime.file.container import parse_container
from nip_runtime.file.container.infos import InitializerInfo, NodeInfo
from nip_runtime.file.manifest import Layout, Manifest, ViewStep
from nip_runtime.file.names import ROWS
from tests.runtime.toy import graph_bytes, manifest_for

TOY = manifest_for(graph_bytes())
SHAPES = ((3, 5, 4), (1, 3, 3), (2, 40), (6,), (2, 3, 4, 5))
"""Where an axis has fewer than 32 entries, a delay is a shift along it."""
BOUNDS = (-0.5, 1.5)
STEPS = tuple(step for step in ViewStep if step.quality in (None, 75))
"""Of the round trips through JPEG, which differ in numbers alone, one."""
LONG = STEPS


@dataclass(frozen=True)
class Shown:
    """A graph that makes a view, the name of what it makes, and a manifest that states it."""

    seen: str
    producers: dict[str, NodeInfo]
    stored: dict[str, InitializerInfo]
    content: bytes
    manifest: Manifest

    def check(self) -> None:
        check_view(self.seen, self.producers, self.stored, self.content, self.manifest)

    def stating(self, view: View) -> Shown:
        assert self.manifest.gate is not None
        gate = replace(self.manifest.gate, view=view, rho=True)
        return replace(self, manifest=replace(self.manifest, gate=gate))

    def refused(self) -> bool:
        try:
            self.check()
        except ArtifactError:
            return True
        return False


def shown(view: View, shape: tuple[int, ...], *, screened: bool = False) -> Shown:
    """What the exporter writes."""
    source = ir.val("input", ir.DataType.FLOAT, ir.Shape(["N", *shape]))
    rows = ir.val(ROWS, ir.DataType.INT64, ir.Shape(["M"]))
    graph = ir.Graph([source], [], nodes=[], name="view", opset_imports={"": 17})
    editor = GraphEditor(graph, scope="view")
    if screened:
        first = editor.constant("first", 0, np.int64)
        editor.op("NonZero", [source], name="places", dtype=ir.DataType.INT64)
        rows = editor.op("Gather", [editor.value("places"), first], {"axis": 0}, name=ROWS)
        source = editor.op("Gather", [source, rows], {"axis": 0})
    value = add_view(editor, source, view, shape, BOUNDS)
    graph.outputs.append(value)
    container = parse_container(content := serialise(ir.Model(graph, ir_version=8)))
    producers = {node.outputs[0]: node for node in container.nodes}
    spec = replace(TOY.input, shape=shape, layout=Layout.ANY, bounds=BOUNDS, mean=None, std=None)
    defence = replace(TOY.defence, screen_threshold=0.5 if screened else None)
    manifest = replace(TOY, input=spec, defence=defence)
    stored = {tensor.name: tensor for tensor in container.initializers}
    return Shown(str(value.name), producers, stored, content, manifest).stating(view)


def views(shape: tuple[int, ...]) -> list[View]:
    """All that the exporter may choose, and all of one or two steps that the shape has axes for."""
    able = [step for step in STEPS if len(shape) > SPATIAL_AXES.get(step, 0)]
    if not can_be_stored(shape):
        able = [step for step in able if step.quality is None]
    found = {*menu(shape, BOUNDS), *permutations(able, 1), *permutations(able, 2)}
    if len(able) == len(LONG):
        found |= {LONG, LONG[::-1]}
    return sorted(found - {()})


@pytest.mark.parametrize("screened", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_the_exporter_writes_for_a_view_is_that_view_and_no_other(
    shape: tuple[int, ...], screened: bool
) -> None:
    every = views(shape)
    assert len(every) >= 2
    for view in every:
        one = shown(view, shape, screened=screened)
        one.check()
        for other in [(), *every]:
            assert one.stating(other).refused() == (other != view), (view, other)


@pytest.mark.parametrize("shape", [(1, 9, 17), (3, 9, 17)], ids=str)
def test_a_round_trip_of_one_quality_is_none_of_another(shape: tuple[int, ...]) -> None:
    trips = [(step,) for step in ViewStep if step.quality is not None]
    for view in trips:
        one = shown(view, shape)
        one.check()
        assert [other for other in trips if not one.stating(other).refused()] == [view]


def test_what_jpeg_does_not_take_is_refused_before_anything_is_counted() -> None:
    made = shown((ViewStep.JPEG_75,), (3, 8, 8))
    for shape in ((2, 8, 8), (8, 8), (3, 4, 8, 8)):
        spec = replace(made.manifest.input, shape=shape)
        with pytest.raises(ArtifactError, match=r"inputs of shape .*, which JPEG does not take"):
            replace(made, manifest=replace(made.manifest, input=spec)).check()


@pytest.mark.parametrize("step", list(SPATIAL_AXES))
def test_a_vector_has_no_axes_to_turn_or_move_along(step: ViewStep) -> None:
    """The exporter would write a graph for it, along the features."""
    made = Shown("seen", {}, {}, b"", shown((ViewStep.GAIN,), (6,)).manifest).stating((step,))
    with pytest.raises(ArtifactError, match=rf"inputs of shape \(6,\), which have no axes for {step}"):
        made.check()


def test_a_screen_states_whose_rows_are_looked_at() -> None:
    screened, all_rows = (shown((ViewStep.GAIN,), (6,), screened=taken) for taken in (True, False))
    for graph, manifest in ((screened, all_rows.manifest), (all_rows, screened.manifest)):
        with pytest.raises(ArtifactError, match="where the input's own rows should be"):
            replace(graph, manifest=manifest).check()
    assert replace(screened, producers={k: n for k, n in screened.producers.items() if k != ROWS}).refused()


def changed_nodes(made: Shown) -> Iterator[tuple[str, NodeInfo]]:
    """Every node of the view with one thing about it changed, and the name of what it computes."""
    values = ["input", "elsewhere", "", *made.producers, *made.stored]
    for name, node in made.producers.items():
        for operator in OPERATORS - {node.operator}:
            yield name, node._replace(operator=operator)
        for place, given in enumerate(node.inputs):
            for value in values:
                if value != given and not same_numbers(made, value, given):
                    yield name, node._replace(inputs=(*node.inputs[:place], value, *node.inputs[place + 1 :]))
        yield name, node._replace(inputs=node.inputs[:-1])
        yield name, node._replace(inputs=(*node.inputs, node.inputs[0]))
        for attributes in ({"axis": 0}, {"axis": 1}, {"axis": -1}, {"axis": 2, "other": 1}, {}):
            if attributes != node.attributes:
                yield name, node._replace(attributes=attributes)


def same_numbers(made: Shown, one: str, other: str) -> bool:
    """Whether two names are stored numbers that are the same."""
    first, second = made.stored.get(one), made.stored.get(other)
    if first is None or second is None or first.raw is None or second.raw is None:
        return False
    contents = [made.content[start:stop] for start, stop in (first.raw, second.raw)]
    return contents[0] == contents[1] and first.dtype == second.dtype


CHANGED = [((1, 3, 5), view) for view in (*permutations(STEPS, 1), LONG)] + [((3, 3, 5), (ViewStep.JPEG_75,))]
changed_ids = [f"{'x'.join(map(str, shape))}-{'+'.join(view)}" for shape, view in CHANGED]


@pytest.mark.parametrize(("shape", "view"), CHANGED, ids=changed_ids)
def test_any_one_change_of_a_node_is_refused(shape: tuple[int, ...], view: View) -> None:
    made, tried = shown(view, shape), 0
    for name, node in changed_nodes(made):
        assert replace(made, producers={**made.producers, name: node}).refused(), (name, node)
        tried += 1
    assert tried > 100


@pytest.mark.parametrize(("shape", "view"), CHANGED, ids=changed_ids)
def test_any_one_change_of_a_number_is_refused(shape: tuple[int, ...], view: View) -> None:
    made, tried = shown(view, shape, screened=True), 0
    for name, tensor in made.stored.items():
        if name == "nip/first":  # of the screen, not of the view
            continue
        assert tensor.raw is not None
        start, stop = tensor.raw
        assert replace(made, stored={k: t for k, t in made.stored.items() if k != name}).refused()
        for dtype in ("int32", "float64", "float16", "uint8"):
            assert replace(made, stored={**made.stored, name: replace(tensor, dtype=dtype)}).refused()
        for place in range(start, stop):
            content = bytearray(made.content)
            content[place] ^= 1
            assert replace(made, content=bytes(content)).refused(), name
            tried += 1
    assert tried >= 4 or view == (ViewStep.POLARITY,)
