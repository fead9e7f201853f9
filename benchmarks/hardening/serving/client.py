"""Clients of a Triton server, run by the Python that has NVIDIA's ``tritonclient``: the tests' own has not.

    python client.py load PLAN.json         clients that send at once; prints what became of every request
    python client.py wrong PLAN.json        wrong requests; prints how each was answered
    python client.py config CONFIG.pbtxt…   how protobuf's own parser and Triton's schema read configurations

It imports nothing of this package.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

OUTPUTS = ("logits", "nip_raw_logits", "nip_suspicion", "nip_flagged", "nip_candidate")
ANSWERED = "answered"
GIVES_UP_AFTER = 3
"""Requests in a row without an answer that make a client stop."""
_TYPES = {"float32": "FP32", "float64": "FP64", "uint8": "UINT8"}
_TIMEOUT_S = 60.0
_WATCH_S = 0.02


class Client:
    """One connection, over HTTP or gRPC; not for several threads."""

    def __init__(self, protocol: str, address: str, model: str) -> None:
        self._limits: dict[str, float] = {}
        if protocol == "http":
            import tritonclient.http as module  # type: ignore[import-not-found]  # in its environment only

            self.connection = module.InferenceServerClient(address, network_timeout=_TIMEOUT_S)
        else:
            import tritonclient.grpc as module  # type: ignore[import-not-found]

            self.connection = module.InferenceServerClient(address)
            self._limits = {"client_timeout": _TIMEOUT_S}
        self._module, self._model = module, model

    def infer(self, images: Any, *, request_id: str = "", name: str = "input") -> list[Any]:
        """The five outputs for a batch; raises tritonclient's error, or that of the connection."""
        tensor = self._module.InferInput(name, list(images.shape), _TYPES[str(images.dtype)])
        tensor.set_data_from_numpy(images)
        wanted = [self._module.InferRequestedOutput(output) for output in OUTPUTS]
        answer = self.connection.infer(
            self._model, [tensor], outputs=wanted, request_id=request_id, **self._limits
        )
        return [answer.as_numpy(output) for output in OUTPUTS]


@dataclass
class Request:
    """One request and what became of it.

    Attributes:
        id: "CLIENT.NUMBER", which the server's side records too.
        rows: of the plan's arrays.
        sent: seconds of the machine's monotonic clock, shared by all its processes.
        done: likewise.
        outcome: "answered", or the error in one line.
        wrong: those of the rows whose answers differ from the expected ones.
    """

    id: str
    rows: list[int]
    sent: float
    done: float
    outcome: str
    wrong: list[int] = field(default_factory=list)


class Load:
    """Clients in threads; each sends rows of one kind, one request after the other.

    A plan names protocol, address, model, arrays (an .npz with images, kind and the expected outputs), prefix
    of the requests' ids, clients, seconds, most_rows of a request, seed, and watch: whether the clients stop
    when the server says that it is not ready, as those behind a load balancer do.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        with np.load(plan["arrays"]) as given:
            self._images, kind = given["images"], given["kind"]
            self._expected = [given[output] for output in OUTPUTS]
        self._rows_of = [np.flatnonzero(kind == each).tolist() for each in range(int(kind.max()) + 1)]
        self._results: list[list[Request]] = [[] for _ in range(plan["clients"])]
        self._stop = threading.Event()
        self._begun = threading.Barrier(plan["clients"] + 1)

    def run(self) -> list[Request]:
        """Start, wait, and give back every request."""
        numbers = range(self._plan["clients"])
        threads = [threading.Thread(target=self._work, args=(number,)) for number in numbers]
        for thread in threads:
            thread.start()
        self._begun.wait()
        print("begun", file=sys.stderr, flush=True)
        end = time.monotonic() + self._plan["seconds"]
        while time.monotonic() < end and not self._stop.is_set() and any(t.is_alive() for t in threads):
            time.sleep(_WATCH_S)
            if self._plan["watch"] and not self._is_ready():
                break
        self._stop.set()
        for thread in threads:
            thread.join()
        return [request for results in self._results for request in results]

    def _work(self, number: int) -> None:
        plan = self._plan
        rows_of, results = self._rows_of[number % len(self._rows_of)], self._results[number]
        chosen = random.Random(number + 1000 * plan["seed"])
        client = Client(plan["protocol"], plan["address"], plan["model"])
        self._begun.wait()
        failures = 0
        while not self._stop.is_set() and failures < GIVES_UP_AFTER:
            rows = [chosen.choice(rows_of) for _ in range(chosen.randint(1, plan["most_rows"]))]
            request = self._send(client, f"{plan['prefix']}{number}.{len(results)}", rows)
            results.append(request)
            failures = 0 if request.outcome == ANSWERED else failures + 1

    def _send(self, client: Client, name: str, rows: list[int]) -> Request:
        sent = time.monotonic()
        try:
            answers = client.infer(self._images[rows], request_id=name)
        except Exception as error:
            return Request(name, rows, sent, time.monotonic(), _line(error))
        done = time.monotonic()
        wrong = [row for place, row in enumerate(rows) if not self._is_right(answers, place, row)]
        return Request(name, rows, sent, done, ANSWERED, wrong)

    def _is_right(self, answers: list[Any], place: int, row: int) -> bool:
        """Bit for bit, but for the sign and payload of a NaN."""
        return all(
            got[place].tobytes() == wanted[row].tobytes()
            or (np.isnan(wanted[row]).any() and np.array_equal(got[place], wanted[row], equal_nan=True))
            for got, wanted in zip(answers, self._expected, strict=True)
        )

    def _is_ready(self) -> bool:
        try:
            client = Client(self._plan["protocol"], self._plan["address"], self._plan["model"])
            ready: bool = client.connection.is_server_ready()
            client.connection.close()
        except Exception:
            return False
        return ready


def _line(error: Exception) -> str:
    """The error in one line, the same for every request that met it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return re.sub(r"\[request id: [^]]*\] ", "", text)[:300]


def wrong(plan: dict[str, Any]) -> dict[str, str]:
    """How the server answers requests that it should not take."""
    client = Client(plan["protocol"], plan["address"], plan["model"])
    with np.load(plan["arrays"]) as given:
        row = given["images"][:1]
    cases: dict[str, Callable[[], Any]] = {
        "no batch axis": lambda: client.infer(row[0]),
        "channels last": lambda: client.infer(np.ascontiguousarray(row.transpose(0, 2, 3, 1))),
        "too small": lambda: client.infer(row[..., 1:].copy()),
        "float64": lambda: client.infer(row.astype(np.float64)),
        "uint8": lambda: client.infer(row.astype(np.uint8)),
        "no rows": lambda: client.infer(row[:0]),
        "more rows than a batch": lambda: client.infer(np.repeat(row, plan["max_batch"] + 1, axis=0)),
        "another input": lambda: client.infer(row, name="image"),
        "another model": lambda: Client(plan["protocol"], plan["address"], "nobody").infer(row),
    }
    answers = {}
    for name, send in cases.items():
        try:
            answers[name] = f"answered {len(send()[0])} rows"
        except Exception as error:
            answers[name] = _line(error)
    return answers


def configs(paths: list[str]) -> list[dict[str, Any]]:
    """What each configuration says; {"error": …} for one that Triton would not take."""
    from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
    from tritonclient.grpc import model_config_pb2

    read: list[dict[str, Any]] = []
    for path in paths:
        try:
            message = text_format.Parse(Path(path).read_bytes(), model_config_pb2.ModelConfig())
            read.append(json_format.MessageToDict(message, preserving_proto_field_name=True))
        except (text_format.ParseError, UnicodeDecodeError) as error:
            read.append({"error": _line(error)})
    return read


def main() -> None:
    """Run one of the commands above."""
    command, *arguments = sys.argv[1:]
    if command == "config":
        print(json.dumps(configs(arguments)))
        return
    plan = json.loads(Path(arguments[0]).read_text())
    print(json.dumps(wrong(plan) if command == "wrong" else [asdict(each) for each in Load(plan).run()]))


if __name__ == "__main__":
    main()
