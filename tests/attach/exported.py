"""Exports of the test networks, each made once per test process, and how to run a graph."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from nip_export.attach.backbone import Backbone, export_backbone
from nip_export.network.plan import TapPlan
from nip_export.network.taps import find_taps
from tests.models import case

Arrays = dict[str, NDArray[np.float32]]


def serialize(model: ir.Model) -> bytes:
    """A model's bytes in protobuf's canonical order."""
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def open_session(model: bytes) -> ort.InferenceSession:
    """A single-threaded CPU session."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: bytes, **inputs: NDArray[np.generic]) -> Arrays:
    """Every output of a graph by name."""
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@cache
def plan_of(name: str) -> TapPlan:
    """The automatic taps of a test network."""
    return find_taps(case(name).build(), case(name).batch(2))


@cache
def exported_bytes(name: str) -> bytes:
    """A test network with its automatic taps, serialized."""
    return serialize(backbone_of(name).model)


@cache
def backbone_of(name: str) -> Backbone:
    """A test network with its automatic taps; shared by tests, so not to be changed."""
    return export_backbone(case(name).build(), case(name).batch(1), plan_of(name).names)


def fresh_model(name: str) -> ir.Model:
    """A copy of an exported test network that a test may change."""
    return ir.serde.deserialize_model(ir.to_proto(backbone_of(name).model))


def close(actual: NDArray[np.float32], expected: torch.Tensor) -> bool:
    """Equal within 1e-5 of the expected scale, and of the same shape."""
    wanted = expected.numpy()
    scale = 1.0 + float(np.abs(wanted).max(initial=0.0))
    return actual.shape == wanted.shape and float(np.abs(actual - wanted).max(initial=0.0)) <= 1e-5 * scale
