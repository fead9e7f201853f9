"""Serving with Triton: writes model repositories for a stock server, and checks them against their graphs."""

from nip_runtime.operate.triton.check import ServedModel, check_model, check_repository
from nip_runtime.operate.triton.repository import Written, write_repository
from nip_runtime.operate.triton.settings import GraphOptimisation, InstanceKind, Instances, ServingSettings

__all__ = [
    "GraphOptimisation",
    "InstanceKind",
    "Instances",
    "ServedModel",
    "ServingSettings",
    "Written",
    "check_model",
    "check_repository",
    "write_repository",
]
