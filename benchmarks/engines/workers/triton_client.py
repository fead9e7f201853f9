"""Asks a Triton server about a job's files, its models of their names; runs where tritonclient is.

python triton_client.py JOB ADDRESS
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import python_engines  # type: ignore[import-not-found]  # beside this file
import tritonclient.http  # type: ignore[import-not-found]  # in its environment only

_TIMEOUT_S = 120.0


class Server:
    """A Triton server that serves a file and its plain network at a time.

    Args:
        address: host and port of its HTTP interface.
    """

    def __init__(self, address: str) -> None:
        limits = {"network_timeout": _TIMEOUT_S, "connection_timeout": _TIMEOUT_S}
        self._client = tritonclient.http.InferenceServerClient(address, **limits)
        self._loaded: list[str] = []

    @property
    def version(self) -> str:
        """As the server says it."""
        return str(self._client.get_server_metadata()["version"])

    def runs(self, path: str) -> Any:
        """The file as the server's model of its name, loaded now; models of other files are unloaded.

        Raises:
            InferenceServerException: the server can't load it.
        """
        model = Path(path).stem
        for other in self._loaded:
            if not model.startswith(other):  # a plain network is called as its file is, and more
                self._client.unload_model(other)
        self._loaded = [other for other in self._loaded if model.startswith(other)] + [model]
        self._client.load_model(model)
        (taken,) = self._client.get_model_metadata(model)["inputs"]

        def run(inputs: Any, names: Iterable[str]) -> dict[str, Any]:
            tensor = tritonclient.http.InferInput(taken["name"], list(inputs.shape), taken["datatype"])
            tensor.set_data_from_numpy(inputs)
            wanted = [tritonclient.http.InferRequestedOutput(name) for name in names]
            answer = self._client.infer(model, [tensor], outputs=wanted)
            return {name: _as_in_the_graph(answer.as_numpy(name)) for name in names}

        return run


def _as_in_the_graph(found: Any) -> Any:
    """Triton shows (N,) as (N, 1)."""
    return found[:, 0] if found.shape[1:] == (1,) else found


def main(path: str, address: str) -> None:
    """Answer a job."""
    server = Server(address)
    python_engines.ENGINES["triton"] = ("tritonclient", server.runs)
    print(json.dumps({"version": server.version}), flush=True)
    python_engines.answer_all("triton", path)


if __name__ == "__main__":
    main(*sys.argv[1:])
