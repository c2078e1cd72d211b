"""A headless Chromium to look at pages with, over the DevTools protocol on a pipe; standard library only.

Protocol: https://chromedevtools.github.io/devtools-protocol/; on a pipe (file descriptors 3 and 4 of the browser) each
message is JSON that ends with a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = "apt-get install --yes chromium"
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage --hide-scrollbars "
    "--remote-debugging-pipe"
)


def found() -> str | None:
    """The browser's program, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one tab. Keeps what the page said to its console and every request it made."""

    def __init__(self, profile: Path) -> None:
        program = found()
        assert program is not None, INSTALL
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [program, *_OPTIONS.split(), f"--user-data-dir={profile}", "about:blank"]
        # The browser wants its ends as 3 and 4: the shell puts them there, whatever their numbers are here.
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        with (profile.parent / f"{profile.name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", shell, "chromium", *command],
                pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._held = b""
        self._number = 0
        self._session = ""
        self.console: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        self._attach()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            self._send("Browser.close", {}, "")
        except BrokenPipeError:
            self._process.kill()
        os.close(self._out)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._in)

    # --- what a test does ----------------------------------------------------------------------

    def screen(self, width: int, height: int, *, dark: bool = False, scripts: bool = True) -> None:
        """The next page is seen on such a screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if width < 500 else 1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    def open(self, page: Path) -> None:
        """Load a file and wait until it stands."""
        self.console.clear()
        self.requests.clear()
        self._loaded = False
        self.call("Page.navigate", url=page.as_uri())
        end = time.monotonic() + DEADLINE_S
        while not self._loaded:
            self._note(self._read(end))

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What a person reads there."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def sideways(self) -> int:
        """Pixels by which the page is wider than the screen."""
        return int(self.value("document.documentElement.scrollWidth - window.innerWidth"))

    def picture(self, file: Path) -> None:
        """The whole page as PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def paper(self, file: Path) -> None:
        """The page printed on A4, as PDF."""
        done = self.call("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)
        file.write_bytes(base64.b64decode(done["data"]))

    # --- the protocol --------------------------------------------------------------------------

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command to the tab."""
        return self._ask(method, params, self._session)

    def _attach(self) -> None:
        targets = self._ask("Target.getTargets", {}, "")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._ask("Target.attachToTarget", {"targetId": tab, "flatten": True}, "")["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _ask(self, method: str, params: dict[str, Any], session: str) -> dict[str, Any]:
        number = self._send(method, params, session)
        end = time.monotonic() + DEADLINE_S
        while True:
            message = self._read(end)
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                found: dict[str, Any] = message["result"]
                return found
            self._note(message)

    def _send(self, method: str, params: dict[str, Any], session: str) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._number

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser has ended"
            self._held += piece
        message, _, self._held = self._held.partition(b"\0")
        read: dict[str, Any] = json.loads(message)
        return read

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.console.append(f"{params['type']}: {params['args']}")
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(f"{params['entry']['level']}: {params['entry']['text']}")
