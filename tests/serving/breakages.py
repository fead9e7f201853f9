"""Ways in which a configuration can part from its graph, each with what the check has to name."""

from __future__ import annotations

from typing import Final

BREAKAGES: Final[dict[str, tuple[str, str, str]]] = {
    "name of another folder": ('name: "golden"', 'name: "silver"', "'golden'"),
    "no name": ('name: "golden"\n', "", "name: 'golden', got none"),
    "another backend": ('backend: "onnxruntime"', 'backend: "python"', "backend: 'onnxruntime'"),
    "another platform": ("max_batch_size", 'platform: "tensorrt_plan"\nmax_batch_size', "platform:"),
    "another file": ("max_batch_size", 'default_model_filename: "m.onnx"\nmax_batch_size', "model.onnx"),
    "no batching": ("max_batch_size: 64", "max_batch_size: 0", "at least 1"),
    "batch not stated": ("max_batch_size: 64\n", "", "max_batch_size: of at least 1, got None"),
    "batch axis in dims": (
        "dims: [1, 28, 28] }\n",
        "dims: [-1, 1, 28, 28] }\n",
        "input TYPE_FP32 [1, 28, 28]",
    ),
    "channels last": ("dims: [1, 28, 28] }\n", "dims: [28, 28, 1] }\n", "input TYPE_FP32 [1, 28, 28]"),
    "free size": ("dims: [1, 28, 28] }\n", "dims: [1, -1, 28] }\n", "input TYPE_FP32 [1, 28, 28]"),
    "another type": ('"input" data_type: TYPE_FP32', '"input" data_type: TYPE_FP16', "input TYPE_FP32"),
    "another input": ('input { name: "input"', 'input { name: "image"', "got none of this name"),
    "an input too many": (
        "output {",
        'input { name: "extra" data_type: TYPE_FP32 dims: [1] }\noutput {',
        "graph only, got extra",
    ),
    "one class less": (
        '"logits" data_type: TYPE_FP32 dims: [10]',
        '"logits" data_type: TYPE_FP32 dims: [9]',
        "logits",
    ),
    "flag left out": (
        'output { name: "nip_flagged" data_type: TYPE_BOOL dims: [1] reshape { shape: [] } }\n',
        "",
        "nip_flagged TYPE_BOOL [1] reshape [], as in the graph of 1/model.onnx, got none of this name",
    ),
    "flag twice": (
        'output { name: "nip_flagged"',
        'output { name: "nip_flagged" data_type: TYPE_BOOL dims: [1] reshape { shape: [] } }\n'
        'output { name: "nip_flagged"',
        " and nip_flagged",
    ),
    "flag without reshape": (
        "TYPE_BOOL dims: [1] reshape { shape: [] }",
        "TYPE_BOOL dims: [1]",
        "nip_flagged",
    ),
    "flag as a number": ("TYPE_BOOL", "TYPE_UINT8", "nip_flagged TYPE_BOOL"),
    "candidate as 32 bits": ("TYPE_INT64", "TYPE_INT32", "nip_candidate TYPE_INT64"),
    "ragged rows": ('name: "input"', 'allow_ragged_batch: true name: "input"', "allow_ragged_batch"),
    "optional input": ('name: "input"', 'optional: true name: "input"', "optional"),
    "queue policy": (
        "max_queue_delay_microseconds: 500",
        "default_queue_policy { default_timeout_microseconds: 100 }",
        "default_queue_policy",
    ),
    "response cache": ("max_batch_size", "response_cache { enable: true }\nmax_batch_size", "response cache"),
    "sequences": (
        "dynamic_batching { max_queue_delay_microseconds: 500 }",
        "sequence_batching { max_sequence_idle_microseconds: 500 }",
        "sequence_batching",
    ),
    "an ensemble": (
        "dynamic_batching { max_queue_delay_microseconds: 500 }",
        "ensemble_scheduling { }",
        "ensemble_scheduling",
    ),
    "streamed answers": (
        "max_batch_size",
        "model_transaction_policy { decoupled: true }\nmax_batch_size",
        "model_transaction_policy",
    ),
    "warm-up beyond the largest batch": ("batch_size: 64 inputs", "batch_size: 65 inputs", "from 0 to 64"),
    "warm-up of another input": ('key: "input"', 'key: "image"', "warm-up inputs input"),
    "warm-up of another shape": (
        "dims: [1, 28, 28] input_data_file",
        "dims: [28, 28] input_data_file",
        "warm-up data",
    ),
    "warm-up file missing": ('input_data_file: "noise"', 'input_data_file: "none"', "warmup/none"),
    "warm-up file that cannot be": (
        'input_data_file: "noise"',
        f'input_data_file: "{"x" * 300}"',
        "File name too long",
    ),
}
"""By name: what stands there, what comes in its place (everywhere), and words of the error."""

UNREADABLE: Final[dict[str, tuple[str, str, str]]] = {
    "a brace too few": ("dims: [10] }", "dims: [10]", "line"),
    "a brace too many": ("dims: [10] }", "dims: [10] } }", "line 6"),
    "a field twice": (
        "max_batch_size: 64",
        "max_batch_size: 64 max_batch_size: 8",
        "max_batch_size appears twice",
    ),
    "an open string": ('name: "golden"', 'name: "golden', "line 2"),
    "no colon": ("max_batch_size: 64", "max_batch_size 64", "line 4"),
    "an open list": ("dims: [10]", "dims: [10", "line 6"),
    "a strange character": ("max_batch_size: 64", "max_batch_size: 64 ?", "line 4"),
    "a scalar for a message": (
        "dynamic_batching { ",
        "dynamic_batching: 5 #",
        "dynamic_batching is no message",
    ),
}
"""Likewise; protobuf's own parser refuses these."""
