"""A tab of a real browser, used as people do: clicks, keys, files; what its workers do is heard too."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.evaluate.page.browser import Browser, Visit, note

PATIENCE_S = 90.0
KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "End": 35,
    "Home": 36,
}


class Tab:
    """An open page.

    Args:
        browser: that has it.
        session: of the page.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._heard = 0
        self._sessions = {session}

    def value(self, expression: str) -> Any:
        """Evaluate an expression, awaiting it if it is a promise."""
        answer = self.call(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True}
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).textContent"))

    def says(self, selector: str, start: str) -> None:
        """Wait until an element's text starts so."""
        self.wait(
            f"document.querySelector({json.dumps(selector)}).textContent.startsWith({json.dumps(start)})"
        )

    def focus(self, selector: str) -> None:
        """Put the keyboard's focus there."""
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")

    def choose(self, selector: str, option: str) -> None:
        """Set the value of a list of choices."""
        self.value(f"void (document.querySelector({json.dumps(selector)}).value = {json.dumps(option)})")

    def texts(self, selector: str) -> list[str]:
        """What all such elements say."""
        found: list[str] = self.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(each => each.textContent)"
        )
        return found

    def wait(self, expression: str) -> Any:
        """The expression's value once it is true."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = self.value(expression)
            if found:
                return found
            self._browser.listen(0.1)
            self._attend()
        raise TimeoutError(f"never true: {expression}; status: {self.text('#status')}")

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element, wherever that is."""
        place = self.value(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)});"
            " it.scrollIntoView({block: 'center'}); const box = it.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        mouse = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", {"type": kind, **mouse})

    def press(self, key: str) -> None:
        """Press and let go of a key."""
        code = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **code, **text})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **code})

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file, as in the dialog of the system."""
        root = self.call("DOM.getDocument", {})["root"]["nodeId"]
        node = self.call("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self.call("DOM.setFileInputFiles", {"files": [str(path)], "nodeId": node})

    def unnamed(self) -> list[str]:
        """Roles of what can be reached with the keyboard and has no name for a screen reader."""
        tree = self.call("Accessibility.getFullAXTree", {})["nodes"]
        found = []
        for node in tree:
            flags = {each["name"]: each["value"].get("value") for each in node.get("properties", ())}
            role = node.get("role", {}).get("value")
            if flags.get("focusable") and role != "RootWebArea" and not node.get("name", {}).get("value"):
                found.append(str(role))
        return found

    def screenshot(self, path: Path) -> None:
        """Photograph the whole page."""
        shot = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a command to the page."""
        answer = self._browser.call(method, params, self._session)
        self._attend()
        return answer

    def visit(self) -> Visit:
        """Complaints and requests so far, of the page and its workers."""
        self._browser.listen(0.3)
        self._attend()
        visit = Visit()
        for event in self._browser.events:
            note(event, visit)
        return visit

    def _attend(self) -> None:
        """Listen to workers from their first moment."""
        while self._heard < len(self._browser.events):
            event = self._browser.events[self._heard]
            self._heard += 1
            if event.get("method") == "Target.attachedToTarget":
                self._listen_to(event["params"]["sessionId"])

    def _listen_to(self, session: str) -> None:
        if session in self._sessions:
            return
        self._sessions.add(session)
        for command in ("Runtime.enable", "Log.enable", "Network.enable"):
            try:
                self._browser.call(command, {}, session)
            except RuntimeError:  # threads of onnxruntime come and go, and some kinds lack a domain
                continue
        try:
            self._browser.call("Target.setAutoAttach", _ATTACH, session)
            self._browser.call("Runtime.runIfWaitingForDebugger", {}, session)
        except RuntimeError:
            return


_ATTACH = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}


@contextmanager
def open_tab(browser: Browser, address: str, *, width: int = 1200, dark: bool = False) -> Iterator[Tab]:
    """A page in a tab of its own, once the file in it has answered or the page has said that it can't."""
    browser.events.clear()
    target = browser.call("Target.createTarget", {"url": "about:blank"})["targetId"]
    session = browser.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
        browser.call(f"{domain}.enable", {}, session)
    browser.call("Target.setAutoAttach", _ATTACH, session)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.call("Emulation.setDeviceMetricsOverride", metrics, session)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.call("Emulation.setEmulatedMedia", {"features": [scheme]}, session)
    tab = Tab(browser, session)
    tab.call("Page.navigate", {"url": address})
    tab.wait("document.getElementById('verdict')?.textContent")
    yield tab
    browser.call("Target.closeTarget", {"targetId": target})
