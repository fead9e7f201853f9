"""The model configuration that tells Triton what a defended file takes and gives.

Fields: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nip_runtime.errors import ArtifactError
from nip_runtime.file.container import Container
from nip_runtime.file.container.infos import TensorInfo
from nip_runtime.operate.triton.settings import InstanceKind, Instances, ServingSettings
from nip_runtime.operate.triton.textformat import quoted

BACKEND: Final = "onnxruntime"
CONFIG_FILE: Final = "config.pbtxt"
MODEL_FILE: Final = "model.onnx"
WARMUP_FOLDER: Final = "warmup"
"""Triton looks for warm-up data in a folder of this name."""
WARMUP_FILE: Final = "noise"
_DTYPES: Final = {"float32": "TYPE_FP32", "bool": "TYPE_BOOL", "int64": "TYPE_INT64"}


@dataclass(frozen=True)
class Tensor:
    """An input or output as Triton's configuration states it, without the batch axis.

    A graph value of shape (N,) has ``dims`` (1,) and ``reshape`` (): Triton knows no empty ``dims``, so it
    shows clients (N, 1) and takes the 1 away before the graph sees it. ``reshape`` is None elsewhere.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None

    def __str__(self) -> str:
        reshape = "" if self.reshape is None else f" reshape {list(self.reshape)}"
        return f"{self.name} {self.data_type} {list(self.dims)}{reshape}"


def tensors(values: Sequence[TensorInfo]) -> list[Tensor]:
    """What the configuration has to say of graph inputs or outputs.

    Raises:
        ArtifactError: one has a type or shape that a defended file does not have.
    """
    return [_tensor(value) for value in values]


def render(name: str, container: Container, settings: ServingSettings) -> str:
    """The text of ``config.pbtxt``. The queue gets no policy: Triton was seen to stall 500 ms with one."""
    inputs = tensors(container.inputs)
    lines = [
        "# Written by `nip triton`; `nip triton --check` compares it with the graphs beside it.",
        f"name: {quoted(name)}",
        f"backend: {quoted(BACKEND)}",
        f"max_batch_size: {settings.max_batch}",
        *(f"input {_io_text(tensor)}" for tensor in inputs),
        *(f"output {_io_text(tensor)}" for tensor in tensors(container.outputs)),
        f"dynamic_batching {{ max_queue_delay_microseconds: {settings.delay_us} }}",
        f"instance_group {_instances_text(settings.instances)}",
        "# Noise looks suspicious as a rule, so that the second pass is warmed with the first.",
        *(_warmup_text(rows, inputs) for rows in sorted({1, settings.max_batch})),
        *_tuning_lines(settings),
    ]
    return "\n".join(lines) + "\n"


def _tensor(value: TensorInfo) -> Tensor:
    shape = value.shape
    if value.dtype not in _DTYPES or shape is None or len(shape) == 0 or isinstance(shape[0], int):
        raise ArtifactError.mismatch(
            expected=f"a batch of float32, bool or int64 in {value.name}",
            got=f"{value.dtype} {shape}",
            fix="export the model again",
        )
    dims = tuple(size if isinstance(size, int) else -1 for size in shape[1:])
    return Tensor(value.name, _DTYPES[value.dtype], dims or (1,), None if dims else ())


def _io_text(tensor: Tensor) -> str:
    reshape = "" if tensor.reshape is None else f" reshape {{ shape: {list(tensor.reshape)} }}"
    return (
        f"{{ name: {quoted(tensor.name)} data_type: {tensor.data_type} dims: {list(tensor.dims)}{reshape} }}"
    )


def _instances_text(instances: Instances) -> str:
    gpus = f" gpus: {list(instances.gpus)}" if instances.gpus else ""
    # Spelled out, for without it Triton would take GPUs wherever it finds some.
    kind = InstanceKind(instances.kind).value
    return f"{{ kind: {kind} count: {instances.count}{gpus} }}"


def _warmup_text(rows: int, inputs: list[Tensor]) -> str:
    entries = " ".join(
        f"inputs {{ key: {quoted(tensor.name)} value {{ data_type: {tensor.data_type}"
        f" dims: {list(tensor.dims)} input_data_file: {quoted(WARMUP_FILE)} }} }}"
        for tensor in inputs
    )
    return f'model_warmup {{ name: "batch {rows}" batch_size: {rows} {entries} }}'


def _tuning_lines(settings: ServingSettings) -> list[str]:
    lines = []
    if settings.optimisation.level is not None:
        lines.append(f"optimization {{ graph {{ level: {settings.optimisation.level} }} }}")
    if settings.threads is not None:
        value = quoted(str(settings.threads))
        lines.append(f'parameters {{ key: "intra_op_thread_count" value {{ string_value: {value} }} }}')
    return lines
