"""Stands in for Triton's onnxruntime backend, which is no part of any Python package: test code.

The server loads the same config.pbtxt and the same model.onnx; what runs the graph is this file and the
onnxruntime wheel instead of libtriton_onnxruntime.so. Queue, batching, warm-up, reshape and statistics are
Triton's own.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # the server brings it


class TritonPythonModel:
    """The name that Triton's python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model; ``args`` are Triton's."""
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        options = onnxruntime.SessionOptions()
        threads = json.loads(args["model_config"])["parameters"].get("intra_op_thread_count")
        if threads is not None:
            options.intra_op_num_threads = int(threads["string_value"])
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._log = os.open(os.environ["STANDIN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all rows that Triton has joined at once."""
        os.write(self._log, (" ".join(request.request_id() or "-" for request in requests) + "\n").encode())
        parts = [triton.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        answers = self._session.run(self._outputs, {self._input: np.concatenate(parts)})
        stops = np.cumsum([len(part) for part in parts])[:-1]
        rows = zip(*(np.split(answer, stops) for answer in answers), strict=True)
        return [
            triton.InferenceResponse([triton.Tensor(*named) for named in zip(self._outputs, of, strict=True)])
            for of in rows
        ]
