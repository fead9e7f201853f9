"""The server: what it answers, to whom, and with which headers; and the command around it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from signal import SIGINT
from urllib.parse import urlsplit

import pytest

from nip_runtime.cli.main import main
from nip_runtime.errors import InputError
from nip_runtime.operate.ui.engine import FILES, folder
from nip_runtime.operate.ui.serve import HEADERS, open_server
from nip_runtime.operate.ui.site import Site, build_site
from tests.ui.conftest import served

Capture = pytest.CaptureFixture[str]
INTERRUPTIBLE = (
    "import signal, sys; from nip_runtime.cli.main import main; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main(sys.argv[1:]))"
)
"""The command as in a terminal: what a shell starts in the background ignores Ctrl+C, as do its children."""
fetched = pytest.mark.skipif(
    not all((folder() / name).is_file() for name in FILES), reason="onnxruntime-web was not fetched (make ui)"
)


@pytest.fixture(scope="module")
def site(golden: Path, some_engine: Path) -> Site:
    return build_site(golden, engine=some_engine)


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    with served(site) as where:
        yield where


def ask(
    address: str, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_every_file_with_its_type_and_strict_headers(address: str, site: Site) -> None:
    types = {
        "html": "text/html; charset=utf-8",
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "mjs": "text/javascript; charset=utf-8",
        "json": "application/json",
        "svg": "image/svg+xml",
        "wasm": "application/wasm",
        "onnx": "application/octet-stream",
        "bin": "application/octet-stream",
    }
    for name, content in site.files.items():
        answer, found = ask(address, f"/{name}?version=1")
        assert (answer.status, found) == (200, content)
        assert answer.getheader("Content-Type") == types[name.rpartition(".")[2]]
        for header, value in HEADERS.items():
            assert answer.getheader(header) == value
    assert "unsafe-inline" not in HEADERS["Content-Security-Policy"]
    assert "'unsafe-eval'" not in HEADERS["Content-Security-Policy"]
    assert ask(address, "/")[1] == site.files["index.html"]


def test_head_and_what_is_not_there(address: str, site: Site) -> None:
    answer, content = ask(address, "/model.onnx", method="HEAD")
    assert (answer.status, content) == (200, b"")
    assert answer.getheader("Content-Length") == str(len(site.files["model.onnx"]))
    for path in (
        "/../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/engine/",
        "/.",
        "//etc/passwd",
        "//[",
        "/nothing",
    ):
        assert ask(address, path)[0].status == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(address, "/", method=method)[0].status == 501


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]", "[::"]
)
def test_names_that_others_point_here_are_refused(address: str, host: str) -> None:
    assert ask(address, "/model.onnx", host=host)[0].status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "[::1]:80"])
def test_this_machines_own_names_are_served(address: str, host: str) -> None:
    assert ask(address, "/", host=host)[0].status == 200


def test_it_listens_on_this_machine_alone_unless_told_otherwise(site: Site) -> None:
    with open_server(site) as server:
        assert server.server_address[0] == "127.0.0.1"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for host, port in (("127.0.0.1", taken.getsockname()[1]), ("203.0.113.7", 0)):
            with pytest.raises(InputError, match="choose another with --port or --host"):
                open_server(site, host=host, port=port)
    with pytest.raises(InputError, match="expected --port from 0 to 65535, got 70000"):
        open_server(site, port=70000)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "expected F.onnx, or --fetch"),
        (["--fetch", "model.onnx"], "expected --fetch alone"),
        (["absent.onnx"], "nothing there"),
    ],
)
def test_wrong_usage(arguments: list[str], told: str, capsys: Capture) -> None:
    assert main(["ui", *arguments]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


@fetched
def test_the_command_serves_until_it_is_interrupted(golden: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTIBLE, "ui", str(golden), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "no examples" in process.stdout.readline()
            line = process.stdout.readline()
            assert "guarded.onnx is at http://127.0.0.1:" in line
            answer, content = ask(line.split()[3], "/model.onnx")
            assert (answer.status, content) == (200, golden.read_bytes())
            process.send_signal(SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


@fetched
def test_the_command_writes_the_page(golden: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["ui", str(golden), "--static", str(tmp_path / "public")]) == 0
    assert "for any web server" in capsys.readouterr().out
    assert (tmp_path / "public" / "model.onnx").read_bytes() == golden.read_bytes()
    size_mib = sum(path.stat().st_size for path in (tmp_path / "public" / "engine").iterdir()) / (1 << 20)
    assert size_mib <= 15
