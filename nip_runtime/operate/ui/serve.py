"""A server for one page: a fixed table of contents, on the loopback interface unless told otherwise."""

from __future__ import annotations

import logging
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from nip_runtime.errors import InputError
from nip_runtime.operate.ui.site import INDEX, POLICY, Site
from nip_runtime.support.arguments import check_whole

_log = logging.getLogger(__name__)

MIME: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".bin": "application/octet-stream",
}
HEADERS: Final = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",  # both: else browsers share no memory between threads
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_LAST_PORT: Final = 65535
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        self.site = site
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.only_local = address[0] in _LOOPBACK
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor that breaks off is none of the terminal's business."""
        _log.info("request of %s broke off", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "nip-ui"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer with a file of the page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with its headers."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        name = unquote(self.path.partition("?")[0]).removeprefix("/") or INDEX
        content = self.server.site.files.get(name)
        if self.server.only_local and not self._is_asked_locally():
            # Another site may let its own name point here, to read the model through a visitor's browser.
            self._send(HTTPStatus.FORBIDDEN, b"served to the local machine only\n", ".txt", with_body)
        elif content is None:
            self._send(HTTPStatus.NOT_FOUND, b"no such file\n", ".txt", with_body)
        else:
            self._send(HTTPStatus.OK, content, PurePosixPath(name).suffix, with_body)

    def _is_asked_locally(self) -> bool:
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:  # no name at all
            return False
        return host in _LOOPBACK

    def _send(self, status: HTTPStatus, content: bytes, suffix: str, with_body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", MIME.get(suffix, "text/plain; charset=utf-8"))
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            try:
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):  # the visitor has left
                self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Requests are worth a line only to whoever asks for all of them."""
        _log.info("%s %s", self.address_string(), format % args)


def open_server(site: Site, *, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A server that listens, and serves once its ``serve_forever`` is called.

    Args:
        site: what it serves.
        host: interface to listen on. On a loopback one, requests by another name than this machine's are
            refused.
        port: 0 for any that is free.

    Raises:
        InputError: the address can't be listened on.
    """
    check_whole("--port", port, least=0, most=_LAST_PORT)
    try:
        return _Server((host, port), site)
    except OSError as error:
        raise InputError.mismatch(
            expected=f"a free port {port} on {host}",
            got=error.strerror or str(error),
            fix="choose another with --port or --host",
        ) from error


def address_of(server: ThreadingHTTPServer) -> str:
    """What to type into a browser."""
    host, port = server.server_address[:2]
    shown = str(host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
