"""A small client of Chromium's DevTools protocol: opens a page and tells what the browser thought of it."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# The protocol's pipes must be descriptors 3 and 4, which subprocess cannot arrange by itself.
LAUNCH = (
    "import fcntl, os, sys; "
    "r, w = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]); "
    "os.dup2(r, 3); os.dup2(w, 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)
TIMEOUT_S = 60.0


def chromium() -> str | None:
    """Path of an installed Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@dataclass
class Visit:
    """What happened while a page was open.

    Attributes:
        complaints: errors and warnings of console, scripts, and the browser itself, such as refused loads.
        requests: every address asked for, the page's own first.
        values: results of the expressions evaluated.
    """

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


class Browser:
    """One headless browser; a fresh tab for every visit."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._buffer = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def visit(
        self,
        page: Path,
        *,
        width: int = 1200,
        height: int = 900,
        dark: bool = False,
        screenshot: Path | None = None,
        evaluate: tuple[str, ...] = (),
    ) -> Visit:
        """Open a file, wait until it is loaded and quiet, evaluate expressions, photograph the whole page."""
        self.events.clear()
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", {}, session)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", metrics, session)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]}, session)
        self.call("Page.navigate", {"url": page.resolve().as_uri()}, session)
        self._wait_for("Page.loadEventFired")
        # Refused loads and late scripts are reported after the load event.
        self.listen(0.4)
        visit = Visit()
        for expression in evaluate:
            answer = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True}, session)
            visit.values[expression] = answer["result"].get("value")
        if screenshot is not None:
            options = {"format": "png", "captureBeyondViewport": True}
            shot = self.call("Page.captureScreenshot", options, session)["data"]
            screenshot.write_bytes(base64.b64decode(shot))
        self.call("Target.closeTarget", {"targetId": target})
        for event in self.events:
            note(event, visit)
        return visit

    def close(self) -> None:
        """Ask the browser to end; it may be gone before it has answered."""
        with suppress(RuntimeError):
            self.call("Browser.close", {})

    def call(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """Send a command and wait for its result; events that come meanwhile are kept."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._receive(TIMEOUT_S)
            if answer is None:
                raise TimeoutError(f"no answer to {method}")
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _wait_for(self, method: str) -> None:
        while not any(event.get("method") == method for event in self.events):
            event = self._receive(TIMEOUT_S)
            if event is None:
                raise TimeoutError(f"no {method}")
            self.events.append(event)

    def listen(self, seconds: float) -> None:
        """Keep the events of a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            event = self._receive(left)
            if event is not None:
                self.events.append(event)

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], seconds)
            if not ready:
                return None
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        event: dict[str, Any] = json.loads(message)
        return event


def note(event: dict[str, Any], visit: Visit) -> None:
    """Add what an event tells of complaints and requests."""
    params = event.get("params", {})
    match event.get("method"):
        case "Runtime.exceptionThrown":
            visit.complaints.append(params["exceptionDetails"]["text"])
        case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
            visit.complaints.append(" ".join(str(entry.get("value")) for entry in params["args"]))
        case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
            visit.complaints.append(params["entry"]["text"])
        case "Network.requestWillBeSent":
            visit.requests.append(params["request"]["url"])


@contextmanager
def open_browser(executable: str, folder: Path, *flags: str) -> Iterator[Browser]:
    """A browser with an empty profile in `folder`, and further flags; it has ended when the block does."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = [sys.executable, "-c", LAUNCH, str(to_read), str(from_write), executable, *FLAGS, *flags]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={folder}"],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    browser = Browser(from_read, to_write)
    try:
        yield browser
        browser.close()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        os.close(from_read)
        os.close(to_write)
