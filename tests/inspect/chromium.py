"""A headless Chromium, spoken to in its own protocol over two pipes: nothing to install but the browser."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

COMMAND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# No sandbox, as root cannot have one; no name is looked up, so that not even the browser itself asks the network.
FLAGS = (
    "--headless --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --disable-extensions --mute-audio"
).split() + ["--host-resolver-rules=MAP * ~NOTFOUND"]
PATIENCE = 60  # seconds for an answer


class Chromium:
    """One page of one browser.

    Args:
      directory: an empty one, for what it keeps.

    Attributes:
      events: what the browser told without being asked, (method, parameters), since `open`.
    """

    def __init__(self, directory: Path) -> None:
        assert COMMAND is not None
        (reads, self._to), (self._from, writes) = os.pipe(), os.pipe()
        words = [COMMAND, *FLAGS, f"--user-data-dir={directory}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "bash", *words],
            pass_fds=(reads, writes),
            env=os.environ | {"HOME": str(directory), "XDG_CONFIG_HOME": str(directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Performance.enable", timeDomain="threadTicks")  # of the processor: a busy machine is not slower
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        """Asks, and waits for the answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append((answer["method"], answer["params"]))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser did not answer")
            if not (more := os.read(self._from, 1 << 20)):
                raise RuntimeError("the browser ended")
            self._buffer += more
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, path: Path) -> None:
        """Opens a file, and waits until all of it is there and drawn."""
        self.events.clear()
        self("Page.navigate", url=path.as_uri())
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            message = self._next()
            self.events.append((message["method"], message["params"]))
        self("Page.captureScreenshot")

    def tell(self, expression: str) -> Any:
        """The value of an expression; the page's own scripts need not be on for it."""
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def size(self, width: int, height: int = 800) -> None:
        """Sets that of the window, in points."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def pointer(self, x: float, y: float, *, click: bool = False) -> None:
        """Moves the pointer there."""
        for kind in ("mouseMoved", *(("mousePressed", "mouseReleased") if click else ())):
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left" if click else "none", clickCount=1)

    def key(self, name: str, code: int) -> None:
        """Presses a key."""
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._to)
        os.close(self._from)
