"""A headless Chromium, driven by its own protocol over a websocket: enough to open pages and to look into them."""

import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TIMEOUT_S = 30.0


class Browser:
    """One tab. `complaints` are the errors of its console: scripts, requests, what the policy refuses."""

    def __init__(self, socket: ClientConnection):
        self._socket, self._ids, self._session = socket, itertools.count(1), ""
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method of the protocol."""
        number = next(self._ids)
        session = {"sessionId": self._session} if self._session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, **session}))
        while (message := json.loads(self._socket.recv(TIMEOUT_S))).get("id") != number:
            self._note(message)
        assert "error" not in message, message["error"]
        return message["result"]

    def value(self, script: str) -> Any:
        """What an expression in the page comes to."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, address: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && location.href !== 'about:blank' /* {address} */")

    def wait(self, script: str) -> None:
        """Until an expression in the page is true."""
        end = time.monotonic() + TIMEOUT_S
        while not self.value(script):
            assert time.monotonic() < end, f"never true: {script}; {self.value('location.href')}; {self.complaints}"
            time.sleep(0.05)

    def show_as(self, width: int, scheme: str) -> None:
        """As on a screen of this width, light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def violations(self) -> list[str]:
        """What axe, a checker of accessibility, finds wrong with the page: its rule, and the element."""
        self.value(resources.files("axe_core_python").joinpath("axe.min.js").read_text() + "; 0")
        found = self.value("axe.run().then((report) => report.violations)")
        return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]

    def _note(self, message: dict[str, Any]) -> None:
        kind, params = message.get("method", ""), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif kind == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif kind == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))
        elif kind == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not re.match(r"(http://127\.0\.0\.1|file|data|about):", address):
                self.complaints.append(f"asks for {address}")


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A running browser whose profile lies in the folder."""
    assert CHROMIUM
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr
        found = next(filter(None, (re.search(r"ws://\S+", line) for line in process.stderr)))
        with connect(found[0], max_size=None) as socket:
            yield Browser(socket)
            socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
