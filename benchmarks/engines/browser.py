"""A job in onnxruntime-web: a page on this machine's own loopback address, opened in headless Chromium.

The page needs no driver: it reads the job from where it came from and posts its answers back.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

WORKERS: Final = Path(__file__).resolve().parent / "workers"
SILENCE_S: Final = 300
"""A page that says nothing for so long is given up."""
_KINDS: Final = {
    ".html": "text/html",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".wasm": "application/wasm",
}
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
GRAPHICS: Final = {
    "wasm": ("--disable-gpu",),
    # A machine without a graphics card has SwiftShader, which comes with Chromium.
    "webgpu": ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"),
}
"""Chromium's options by onnxruntime's provider."""


def answers_in_page(
    job: Path, *, chromium: str, package: Path, provider: str, threads: int, folder: Path
) -> Iterator[str]:
    """Open the page and yield what it says, line by line.

    Args:
        job: path of ``job.json``.
        chromium: path of the browser.
        package: folder of the npm package onnxruntime-web.
        provider: "wasm" or "webgpu".
        threads: of WebAssembly.
        folder: an empty one, for the browser's profile.

    Raises:
        TimeoutError: the page said nothing for minutes.
        RuntimeError: it failed.
    """
    said: queue.Queue[str] = queue.Queue()
    roots = {"ort": package / "dist", "job": job.parent, "workers": WORKERS}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(roots, said))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = (
        f"http://127.0.0.1:{server.server_port}/workers/index.html?threads={threads}&provider={provider}"
    )
    browser = subprocess.Popen(
        [chromium, *_FLAGS, *GRAPHICS[provider], f"--user-data-dir={folder}", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                line = said.get(timeout=SILENCE_S)
            except queue.Empty:
                raise TimeoutError(f"the page said nothing for {SILENCE_S} s") from None
            found = json.loads(line)
            if "done" in found:
                if not found["done"]:
                    raise RuntimeError(f"the page failed: {found['error']}")
                return
            yield line
    finally:
        browser.terminate()
        try:
            browser.wait(20)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
        server.shutdown()
        server.server_close()


def _handler(roots: dict[str, Path], said: queue.Queue[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            top, _, name = self.path.partition("?")[0].lstrip("/").partition("/")
            path = roots.get(top, Path("/nowhere")) / name
            if "/" in name or not path.is_file():
                self._send(404, b"", "text/plain")
            else:
                kind = _KINDS.get(path.suffix, "application/octet-stream")
                self._send(200, path.read_bytes(), kind)

        def do_POST(self) -> None:
            said.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._send(204, b"", "text/plain")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            # With these two a page may share memory between threads.
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing on the terminal."""

    return Handler
