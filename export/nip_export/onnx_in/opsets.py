"""Files of any opset at the one that torch's exporter writes: from there the way is the same for both."""

from __future__ import annotations

import onnx
import onnx.defs
import onnx.inliner
import onnx.version_converter

from nip_export.attach.opset import SOURCE_OPSET
from nip_export.onnx_in.reading import STANDARD, Source
from nip_runtime.errors import ExportError

WRITTEN_OUT = frozenset(("GroupNormalization",))
"""Operators that changed their meaning: they are written out in what their definition says they stand for."""
RENAMED = {("GridSample", "mode", b"linear"): b"bilinear", ("GridSample", "mode", b"cubic"): b"bicubic"}
"""Values of attributes that have another name in the older opset."""


def at_source_opset(source: Source, proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same network at opset 18.

    Args:
        source: the file, for messages.
        proto: its model, at the file's own opset.

    Raises:
        ExportError: an operator has no form there.
    """
    written = _written_out(proto)
    if source.opset > SOURCE_OPSET:
        return _lowered(source, written)
    try:
        return onnx.version_converter.convert_version(written, SOURCE_OPSET)
    except Exception as error:  # the converter's have no base class of their own
        reason = " ".join(str(error).split())
        raise ExportError(
            f"{source.name} cannot be brought from opset {source.opset} to {SOURCE_OPSET}: {reason}; export "
            "it anew at a newer opset"
        ) from error


def _written_out(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Operators that opset 18 does not have, as the standard defines them by older ones."""
    new = {
        node.op_type
        for node in proto.graph.node
        if node.op_type in WRITTEN_OUT or schema(node.op_type, SOURCE_OPSET) is None
    }
    if not new:
        return proto
    named = [("", name) for name in sorted(new)]
    return onnx.inliner.inline_selected_functions(proto, named, inline_schema_functions=True)


def schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """An operator as it stands at an opset; None if there is none of this name."""
    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _lowered(source: Source, proto: onnx.ModelProto) -> onnx.ModelProto:
    """A newer file restated at opset 18: later forms mostly take more types of numbers and nothing else.

    What the parity check behind cannot miss is not told apart here: a node is taken over where it says
    nothing that the older form could not.
    """
    refused = set()
    lowered = onnx.ModelProto()
    lowered.CopyFrom(proto)
    for node in lowered.graph.node:
        now, then = schema(node.op_type, source.opset), schema(node.op_type, SOURCE_OPSET)
        if now is None or then is None or not _restated(node, now, then):
            refused.add(node.op_type)
    if refused:
        raise ExportError(
            f"{source.name} uses operators of opset {source.opset} that opset {SOURCE_OPSET} cannot express: "
            f"{', '.join(sorted(refused))}; export it anew at opset {SOURCE_OPSET}"
        )
    for each in lowered.opset_import:
        if each.domain in STANDARD:
            each.version = SOURCE_OPSET
    return lowered


def _restated(node: onnx.NodeProto, now: onnx.defs.OpSchema, then: onnx.defs.OpSchema) -> bool:
    """Take from a node what only its newer form knows, where that says nothing; whether it could be done."""
    if now.since_version == then.since_version:
        return True
    if len(node.input) > then.max_input or len(node.output) > then.max_output:
        return False
    kept = []
    for attribute in node.attribute:
        if attribute.name in then.attributes:
            new = RENAMED.get((node.op_type, attribute.name, attribute.s))
            attribute.s = attribute.s if new is None else new
            kept.append(attribute)
        elif not _says_nothing(attribute, now):
            return False
    del node.attribute[:]
    node.attribute.extend(kept)
    return True


def _says_nothing(attribute: onnx.AttributeProto, now: onnx.defs.OpSchema) -> bool:
    if attribute.name == "dilations":
        return set(attribute.ints) == {1}
    usual = now.attributes[attribute.name].default_value if attribute.name in now.attributes else None
    return usual is not None and onnx.helper.get_attribute_value(usual) == onnx.helper.get_attribute_value(
        attribute
    )
