"""The finished graph as bytes, and its manifest."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import onnx_ir as ir
from torch import nn

from nip_export.network.adapted import unwrapped
from nip_runtime.errors import ExportError
from nip_runtime.file.container import encode_metadata_entry, parse_container
from nip_runtime.file.manifest import Manifest, Provenance
from nip_runtime.file.names import MANIFEST_KEY

LARGEST_FILE = 2**31 - 2**20
"""Protobuf's limit on one message, with room for the manifest."""


def serialise(model: ir.Model) -> bytes:
    """The model as ONNX bytes, without a manifest.

    Raises:
        ExportError: it is larger than one ONNX file can be.
    """
    try:
        content = ir.to_proto(model).SerializeToString(deterministic=True)
    except ValueError as error:
        raise ExportError(f"the graph does not fit into one ONNX file of 2 GB: {error}") from error
    if len(content) > LARGEST_FILE:
        raise ExportError(f"expected at most 2 GB of graph and weights, got {len(content) / 1e9:.2f} GB")
    return bytes(content)


def graph_digest(content: bytes) -> str:
    """The manifest's digest of a serialised model's graph."""
    return parse_container(content).graph_digest


def with_manifest(content: bytes, manifest: Manifest) -> bytes:
    """The same model carrying its manifest; the bytes of the graph stay as they are."""
    return content + encode_metadata_entry(MANIFEST_KEY, manifest.to_json())


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and values of the model's state, as ``"sha256:…"``."""
    sha = hashlib.sha256()
    for name, tensor in sorted(unwrapped(model).state_dict().items()):
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        sha.update(f"{name}{array.dtype.name}{array.shape};".encode())
        sha.update(array.tobytes())
    return f"sha256:{sha.hexdigest()}"


def provenance(*, opset: int, seed: int) -> Provenance:
    """When and with what this process makes files."""
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool=f"nip-runtime {version('nip-runtime')}",
        torch=version("torch"),
        onnx_ir=version("onnx-ir"),
        onnxruntime=ort_version(),
        opset=opset,
        seed=seed,
    )


def ort_version() -> str:
    """Version of whichever onnxruntime build is installed."""
    import onnxruntime

    return str(onnxruntime.__version__)
