"""Headless Chromium through its DevTools pipe, with the standard library alone: pages looked at as a reader would."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="there is no chromium here (Debian: apt-get install chromium)"
)
_SECONDS = 60


class Browser:
    """A running Chromium; `open` gives a page of a file."""

    def __init__(self):
        self._folder = tempfile.mkdtemp()
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        flags = [
            "--headless",
            "--window-size=1300,900",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        ]
        flags += ["--no-first-run", "--disable-background-networking", f"--user-data-dir={self._folder}"]
        # bash puts the two pipes where the browser looks for them.
        line = f'exec 8<&{to_read} 9>&{to_write}; exec "$@" 3<&8 4>&9 8<&- 9>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", line, "bash", PROGRAM, *flags, "about:blank"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest, self._number = b"", 0
        self.events = []

    def close(self):
        os.close(self._to)
        self._process.terminate()
        self._process.wait(20)
        os.close(self._from)
        shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, method, session=None, **parameters):
        """Send a command and give its result; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]
            self.events.append(told)

    def _next(self):
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 20)
            assert more, "the browser ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, path):
        """A page that shows a file."""
        self.events.clear()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Runtime", "Network", "Log", "Page"):
            page.send(f"{domain}.enable")
        page.address = Path(path).resolve().as_uri()
        page.send("Page.navigate", url=page.address)
        page.until("document.readyState === 'complete'")
        return page


class Page:
    """One tab."""

    def __init__(self, browser, session):
        self._browser, self._session = browser, session
        self.address = ""

    def send(self, method, **parameters):
        return self._browser.send(method, self._session, **parameters)

    def evaluate(self, expression):
        """The value of an expression, awaited."""
        told = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, expression):
        """Wait until an expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.evaluate(f"!!({expression})"):
            assert time.monotonic() < end, f"{expression} did not become true"
            time.sleep(0.03)

    def click(self, selector):
        """Press and release the mouse in the middle of an element."""
        self.click_at(selector, 0.5)

    def click_at(self, selector, share):
        """Press and release the mouse over an element, at a share of its width."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x = self.evaluate(f"{box}.left + {box}.width * {share}")
        y = self.evaluate(f"{box}.top + {box}.height / 2")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, code):
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {}
        named = "Space" if key == " " else key
        for kind in ("keyDown", "keyUp"):
            own = text if kind == "keyDown" else {}
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=named, windowsVirtualKeyCode=code, **own
            )

    def complaints(self):
        """What stands in the console, was thrown, or was asked of anybody but the file itself."""
        self.evaluate("1")  # so that events sent before are read
        found = []
        for event in self._browser.events:
            what, told = event.get("method"), event.get("params", {})
            if what == "Runtime.consoleAPICalled":
                found.append(f"console {told['type']}: {told['args']}")
            if what == "Runtime.exceptionThrown":
                found.append(f"thrown: {told['exceptionDetails']}")
            if what == "Log.entryAdded":
                found.append(f"log: {told['entry']['text']}")
            if what == "Network.requestWillBeSent":
                address = told["request"]["url"]
                if address != self.address and not address.startswith(("data:", "blob:")):
                    found.append(f"request: {address}")
        return found

    def picture(self, path):
        """Write what is seen as a PNG."""
        Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


TEXTS = """
(() => {
  const texts = [...document.querySelectorAll('svg text')].filter(text => text.textContent.trim());
  return texts.map(text => {
    const box = text.getBoundingClientRect();
    return [text.textContent, box.left, box.top, box.right, box.bottom];
  });
})()
"""


def overlapping(boxes, slack=0.6):
    """Pairs of texts that stand over each other by more than ``slack`` pixels in both directions."""
    found = []
    for at, (text, left, top, right, bottom) in enumerate(boxes):
        for other, other_left, other_top, other_right, other_bottom in boxes[:at]:
            across = min(right, other_right) - max(left, other_left)
            down = min(bottom, other_bottom) - max(top, other_top)
            # A line of text is higher than its letters: lines that stand right under each other touch.
            if across > slack and down > 0.25 * min(
                bottom - top, other_bottom - other_top, right - left, other_right - other_left
            ):
                found.append((other, text))
    return found
