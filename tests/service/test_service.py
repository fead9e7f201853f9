"""The service as a process of its own, asked through HTTP as anybody would."""

from __future__ import annotations

import http.client
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.service.server import Running, serving
from examples.service import __main__ as service

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "goldens" / "guarded.onnx"
OPTIONS = ("--threads", "1", "--rows", "48", "--body-bytes", "200000", "--running", "1", "--waiting", "2")


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN.with_suffix(".npz")) as content:
        return dict(content)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("service") / "log"
    with serving(GOLDEN, log, *OPTIONS, "--watch-bursts") as service:
        yield service


def ask(port: int, body: bytes | Iterator[bytes], **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/label", body, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.headers)
    finally:
        connection.close()


def npy(images: NDArray[Any]) -> bytes:
    body = BytesIO()
    np.save(body, images)
    return body.getvalue()


def lines(labels: NDArray[Any]) -> str:
    return "".join(f"{label}\n" for label in labels)


def test_an_array_gets_a_label_a_row_and_nothing_else(
    running: Running, golden: dict[str, NDArray[Any]]
) -> None:
    wanted = golden["logits"].argmax(1)
    status, text, headers = ask(running.port, npy(golden["images"]))
    assert (status, text) == (200, lines(wanted))
    assert set(headers) == {"date", "content-length", "content-type"}, "no header tells more than the label"
    floats = (golden["images"].astype(np.float32) / np.float32(255))[:, None]
    assert ask(running.port, npy(floats))[:2] == (200, lines(wanted))


def test_an_encoded_image_gets_its_label(running: Running, golden: dict[str, NDArray[Any]]) -> None:
    wanted = golden["logits"].argmax(1)
    for image, label in zip(golden["images"][:3], wanted, strict=False):
        assert ask(running.port, cv2.imencode(".png", image)[1].tobytes())[:2] == (200, f"{label}\n")
    large = cv2.imencode(".jpg", np.full((90, 120, 3), 128, np.uint8))[1].tobytes()
    status, text, _ = ask(running.port, large)
    assert status == 200 and text.strip() in map(str, range(10)), "resized as the manifest says"


def test_raw_labels_are_the_networks_own(tmp_path: Path, golden: dict[str, NDArray[Any]]) -> None:
    raw = golden["raw_logits"].argmax(1)
    assert (raw != golden["logits"].argmax(1)).any()
    with serving(GOLDEN, tmp_path / "log", *OPTIONS, "--raw") as undefended:
        assert ask(undefended.port, npy(golden["images"]))[:2] == (200, lines(raw))


REFUSED = {
    "empty": (b"", 400, "got an empty body"),
    "another format": (b"GIF89a" + bytes(20), 415, "expected a PNG, JPEG or .npy file"),
    "a cut PNG": (b"\x89PNG\r\n\x1a\n\0\0", 422, "damaged header"),
    "a cut JPEG": (cv2.imencode(".jpg", np.zeros((28, 28), np.uint8))[1].tobytes()[:-9], 422, "JPEG"),
    "a huge PNG": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\0\0\0\0" + bytes(4) + b"\0\0\0\0IEND" + bytes(4),
        413,
        "65536 x 65536",
    ),
    "too long": (bytes(200_001), 413, "at most 200000 bytes"),
    "too many rows": (npy(np.zeros((49, 28, 28), np.uint8)), 413, "at most 48 rows, got 49"),
    "another shape": (npy(np.zeros((1, 9, 9, 3), np.uint8)), 422, "expected uint8"),
    "a number": (npy(np.array(1, np.float32)), 422, "expected uint8"),
    "NaN": (npy(np.full((1, 1, 28, 28), np.nan, np.float32)), 422, "NaN in row 0"),
    "pickled objects": (npy(np.zeros((1, 28, 28), np.uint8))[:-1], 422, "where the header"),
    "a lying header": (npy(np.zeros((4, 28, 28), np.uint8))[:500], 422, "where the header"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_input_gets_one_clear_line(running: Running, kind: str) -> None:
    body, wanted, said = REFUSED[kind]
    status, text, _ = ask(running.port, body)
    assert status == wanted, text
    assert said in text and text.count("\n") == 1 and text.endswith("\n")
    assert "Traceback" not in running.log.read_text(encoding="utf-8")


def test_a_body_that_states_no_length_is_read_no_further_than_allowed(running: Running) -> None:
    parts = (bytes(1 << 16) for _ in range(64))
    status, text, _ = ask(running.port, parts)
    assert (status, text) == (413, "expected at most 200000 bytes, got more; make it smaller\n")


def test_pickled_objects_are_never_unpickled(running: Running) -> None:
    body = BytesIO()
    np.save(body, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    status, text, _ = ask(running.port, body.getvalue())
    assert status == 422 and "pickled" in text


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65])
def test_a_name_of_a_client_is_short_and_visible(running: Running, name: str) -> None:
    status, text, _ = ask(running.port, npy(np.zeros((1, 28, 28), np.uint8)), X_Client=name)
    assert status == 400 and "1 to 64 visible ASCII" in text


def test_other_addresses_and_verbs_are_refused(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    for verb, path, wanted in (("GET", "/label", 405), ("POST", "/metrics", 404), ("GET", "/health", 200)):
        connection.request(verb, path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == wanted
    connection.close()


def test_metrics_count_what_was_asked(running: Running, golden: dict[str, NDArray[Any]]) -> None:
    before = running.metrics()
    assert ask(running.port, npy(golden["images"]))[0] == 200
    after = running.metrics()
    assert after["nip_flagged_rows_total"] - before["nip_flagged_rows_total"] == golden["flagged"].sum()
    assert after["nip_drift_rows_total"] - before["nip_drift_rows_total"] == 48
    watched = [sum(v for name, v in m.items() if "nip_burst_rows" in name) for m in (before, after)]
    assert watched[1] - watched[0] == 48


def test_a_burst_of_near_duplicates_is_noticed_with_its_client(running: Running) -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0.2, 0.8, (1, 1, 28, 28)).astype(np.float32)
    variants = np.clip(image + rng.normal(0, 0.01, (40, 1, 28, 28)), 0, 1).astype(np.float32)
    before = running.metrics()["nip_bursts_total"]
    assert ask(running.port, npy(variants), X_Client="mallory")[0] == 200
    assert running.metrics()["nip_bursts_total"] == before + 1
    assert "client 'mallory' asks about near-duplicates: 16" in running.log.read_text(encoding="utf-8")


def test_beyond_the_bound_requests_are_told_to_come_again(running: Running) -> None:
    body = npy(np.zeros((1, 28, 28), np.uint8))
    begun = [socket.create_connection(("127.0.0.1", running.port), timeout=60) for _ in range(3)]
    head = f"POST /label HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for each in begun:  # one would run and two wait, if only their bodies came
        each.sendall(head)
    answers: list[int] = []
    for _ in range(200):  # until all three were taken in
        answers.append(ask(running.port, body)[0])
        if answers[-1] == 503:
            break
    status, text, headers = ask(running.port, body)
    assert (status, headers["retry-after"]) == (503, "1") and "too many requests" in text
    for each in begun:
        each.sendall(body)
        assert each.recv(4096).startswith(b"HTTP/1.1 200")
        each.close()
    assert ask(running.port, body)[0] == 200


def test_concurrent_clients_get_their_own_answers(running: Running, golden: dict[str, NDArray[Any]]) -> None:
    wanted, wrong = golden["logits"].argmax(1), list[str]()

    def client(row: int) -> None:
        for _ in range(10):
            status, text, _ = ask(running.port, npy(golden["images"][row : row + 1]))
            if (status, text) != (200, f"{wanted[row]}\n"):
                wrong.append(f"row {row}: {status} {text}")

    threads = [threading.Thread(target=client, args=(row,)) for row in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_a_request_in_progress_is_answered(number: int) -> None:
    command = [sys.executable, "-m", "examples.service", str(GOLDEN), "--port", "0", *OPTIONS]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(re.findall(r":(\d+)/", process.stdout.readline())[0])
        body = npy(np.zeros((1, 28, 28), np.uint8))
        assert ask(port, body)[0] == 200
        with socket.create_connection(("127.0.0.1", port), timeout=60) as begun:
            begun.sendall(f"POST /label HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            begun.sendall(body[:40])
            assert ask(port, body)[0] == 200  # connections are taken in one after the other
            process.send_signal(number)
            begun.sendall(body[40:])
            assert begun.recv(4096).startswith(b"HTTP/1.1 200")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "Traceback" not in said and "Finished server process" in said
    finally:
        process.kill()
        process.communicate()


def test_what_cannot_be_served_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.main([str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert service.main([str(GOLDEN), "--port", port]) == 2
    assert f"expected a free port, {port}, got Address already in use" in capsys.readouterr().err
    assert service.main([str(GOLDEN), "--port", "99999"]) == 2
    assert "expected a free port, 99999" in capsys.readouterr().err


def test_the_commands_on_the_page_are_understood() -> None:
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    found = re.findall(r"^python -m examples\.service (.*?)(?:  +#.*)?$", page, re.MULTILINE)
    assert found
    for command in found:
        options = service._parser().parse_args(shlex.split(command))
        assert options.model.name == "model.nip.onnx"
    text = " ".join(service._parser().format_help().split())
    for option in ("--metrics-port", "--watch-bursts", "--body-bytes", "--rows", "--running", "--raw"):
        assert option in text
