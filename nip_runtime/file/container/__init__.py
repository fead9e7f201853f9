"""ONNX files without the ``onnx`` package: read whole, walked within limits, described; small ones made."""

from nip_runtime.file.container.describe import (
    Container,
    encode_metadata_entry,
    parse_container,
    read_container,
)

__all__ = ["Container", "encode_metadata_entry", "parse_container", "read_container"]
