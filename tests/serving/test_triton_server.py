"""A real tritonserver, asked by NVIDIA's own clients; a stand-in runs the graph in it, see `standin`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]

from benchmarks.hardening.pinned import clean_variables
from benchmarks.hardening.serving.environment import Environment
from benchmarks.hardening.serving.fleet import Kind, Protocol
from benchmarks.hardening.serving.server import TritonServer
from benchmarks.hardening.serving.stage import Images, Served, Stage, write_arrays
from benchmarks.hardening.serving.trials import REFUSALS, load, stop_under_load, wrong_requests
from nip_runtime.operate import triton as triton_page
from nip_runtime.operate.triton import GraphOptimisation, Instances, ServingSettings, write_repository
from tests.serving.conftest import GOLDENS

pytestmark = pytest.mark.slow

README = (Path(triton_page.__file__).parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def stage(triton: Environment, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    scratch = tmp_path_factory.mktemp("stage")
    source = scratch / "signed.nip.onnx"
    source.write_bytes((GOLDENS / "guarded.onnx").read_bytes())
    source.with_name("signed.nip.onnx.sig").write_text("{}")  # a file more, which must not disturb Triton
    return Stage.of(triton, source, Images.of_golden("guarded"), scratch)


@pytest.fixture(scope="module")
def served(stage: Stage) -> Iterator[Served]:
    with stage.serve() as served:
        yield served


def test_the_server_loads_warms_and_shows_the_model(served: Served) -> None:
    assert "successfully loaded 'model'" in served.server.log_text()
    assert [len(batch) for batch in served.server.joined()[:2]] == [1, 64]
    shown = json.loads(served.server.get("/v2/models/model"))
    assert shown["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]
    assert [(output["name"], output["datatype"], output["shape"]) for output in shown["outputs"]] == [
        ("logits", "FP32", [-1, 10]),
        ("nip_raw_logits", "FP32", [-1, 10]),
        ("nip_suspicion", "FP32", [-1, 1]),
        ("nip_flagged", "BOOL", [-1, 1]),
        ("nip_candidate", "INT64", [-1, 1]),
    ]
    taken = json.loads(served.server.get("/v2/models/model/config"))
    assert (taken["max_batch_size"], taken["backend"]) == (64, "onnxruntime")
    assert taken["dynamic_batching"]["max_queue_delay_microseconds"] == 500
    assert [(group["kind"], group["count"]) for group in taken["instance_group"]] == [("KIND_CPU", 1)]


@pytest.mark.parametrize("protocol", Protocol)
def test_16_clients_get_what_onnxruntime_answers_row_by_row(served: Served, protocol: Protocol) -> None:
    got = load(served, protocol, seconds=2)
    assert got.outcomes == {"answered": got.sent}
    assert got.wrong_rows == 0
    assert got.sent > 100
    # Triton's own statistics, and the stand-in's record of who shared a batch.
    assert (got.ran.requests, got.ran.rows) == (got.sent, got.rows)
    assert (got.rows_by_server, got.batches_by_server) == (got.rows, got.ran.batches)
    assert got.rows / got.ran.batches > 2
    assert got.ran.mixed > 10
    assert got.largest_batch <= 64


def test_the_gate_has_something_to_decide(stage: Stage) -> None:
    flagged = stage.expected["nip_flagged"][:, 0]
    for kind in (Kind.BENIGN, Kind.ATTACKED):
        assert 0 < flagged[stage.images.kind == kind].sum() < 24
    corrected = stage.expected["logits"].argmax(1) != stage.expected["nip_raw_logits"].argmax(1)
    assert corrected[stage.images.kind == Kind.ATTACKED].sum() > 5


def test_a_bit_that_differs_is_noticed(served: Served, tmp_path: Path) -> None:
    altered = {name: answers.copy() for name, answers in served.stage.expected.items()}
    altered["logits"].view(np.uint32)[5, 3] ^= 1
    write_arrays(tmp_path / "arrays.npz", served.stage.images, altered)
    with served.fleet(Protocol.HTTP, arrays=str(tmp_path / "arrays.npz"), clients=3, seconds=0.5) as fleet:
        requests = fleet.finish(60)
    assert 5 in {row for request in requests for row in request.rows}
    assert {row for request in requests for row in request.wrong} == {5}


@pytest.mark.parametrize("protocol", Protocol)
def test_wrong_requests_are_refused_and_harm_nobody(served: Served, protocol: Protocol) -> None:
    got = wrong_requests(served, protocol)
    assert got.unexpected == {}
    assert got.tried == len(REFUSALS)
    assert got.neighbours > 100
    assert (got.neighbours_unanswered, got.neighbours_wrong_rows) == (0, 0)


def test_the_pages_client_runs_as_it_stands(served: Served) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = example.replace("localhost:8000", f"localhost:{served.server.ports.http}")
    done = subprocess.run(
        [served.stage.environment.python, "-W", "error", "-c", example],
        env=clean_variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"\d \d (passed|attacked\?) [01]\.\d{3}", line) for line in lines)


def test_the_pages_metrics_are_there(served: Served) -> None:
    metrics = served.server.get("/metrics", port=served.server.ports.metrics)
    for name in set(re.findall(r"nv_\w+", README)):
        assert f'{name}{{model="model",version="1"}}' in metrics


def test_the_pages_service_parses() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    service = yaml.safe_load(text)
    predictor = service["spec"]["predictor"]
    assert (service["kind"], predictor["model"]["protocolVersion"]) == ("InferenceService", "v2")
    # Longer than Triton's own time to finish, which is 30 s unless told otherwise.
    assert predictor["terminationGracePeriodSeconds"] > 30


def test_sigterm_under_load_loses_nothing_that_was_accepted(stage: Stage) -> None:
    stop = stop_under_load(stage)
    assert stop.exit_code == 0
    for fate in stop.fates.values():
        assert (fate.unanswered, fate.ran_unanswered, fate.wrong_rows) == (0, 0, 0)
        assert fate.answered + fate.refused == fate.sent
        assert fate.answered > 100
        assert fate.in_flight > 0
    # Over gRPC clients went on until they were refused: the server was under load to its end.
    assert stop.fates[Protocol.GRPC].refused > 0


def test_a_loss_is_noticed(stage: Stage) -> None:
    """What the test above counts is not zero by construction: a server that is killed loses requests."""
    unnoticed = set(Protocol)
    for seed in range(
        3
    ):  # on a busy machine the server may not have read any of them: then none was accepted
        stop = stop_under_load(stage, number=signal.SIGKILL, seed=seed)
        assert stop.exit_code == -signal.SIGKILL
        unnoticed -= {protocol for protocol, fate in stop.fates.items() if fate.unanswered > 0}
        if not unnoticed:
            break
    assert not unnoticed


def test_the_server_takes_every_setting(triton: Environment, model: Path, tmp_path: Path) -> None:
    write_repository(model, tmp_path / "models", settings=ServingSettings(max_batch=8))
    tuned = ServingSettings(
        max_batch=8,
        delay_us=0,
        instances=Instances.parse("cpu:2"),
        threads=1,
        optimisation=GraphOptimisation.EXTENDED,
    )
    write_repository(model, tmp_path / "models", settings=tuned, version=3, force=True)
    with TritonServer(triton, tmp_path / "models", tmp_path / "server") as server:
        assert json.loads(server.get("/v2/models/golden"))["versions"] == ["3"]
        taken = json.loads(server.get("/v2/models/golden/config"))
        assert sorted(map(len, server.joined())) == [1, 1, 8, 8]
    assert taken["max_batch_size"] == 8
    assert taken["dynamic_batching"]["max_queue_delay_microseconds"] == 0
    assert [(group["kind"], group["count"]) for group in taken["instance_group"]] == [("KIND_CPU", 2)]
    assert taken["optimization"]["graph"]["level"] == 1
    assert taken["parameters"] == {"intra_op_thread_count": {"string_value": "1"}}


def test_a_server_that_cannot_load_says_why_and_leaves_nothing(triton: Environment, tmp_path: Path) -> None:
    folder = write_repository(GOLDENS / "guarded.onnx", tmp_path / "models").model.folder
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace("batch_size: 64", "batch_size: sixty"))
    server = TritonServer(triton, tmp_path / "models", tmp_path / "server")
    with pytest.raises(RuntimeError, match="failed to load all models"), server:
        pass
    with pytest.raises(ProcessLookupError):
        os.killpg(server.group, 0)
