"""A headless Chromium for the tests, driven by its DevTools protocol over two pipes: no other package is needed."""

import json
import os
import select
import shutil
import subprocess
import time

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
    "--remote-debugging-pipe",
]
PATIENCE = 60  # seconds for an answer


def chromium():
    """The program, or None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """A page in a browser of its own profile; what it logs and asks the network for is in `events`."""

    def __init__(self, program, profile):
        read, self.to_browser = os.pipe()  # the browser reads from its descriptor 3 and writes to 4
        self.from_browser, write = os.pipe()
        command = f'exec "$0" "$@" 3<&{read} 4>&{write}'
        arguments = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        options = {"pass_fds": (read, write), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["bash", "-c", command, *arguments], **options)
        os.close(read)
        os.close(write)
        self.events, self.count, self.rest, self.session = [], 0, b"", None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait(20)
        os.close(self.to_browser)
        os.close(self.from_browser)

    def call(self, method, **parameters):
        """Call a method of the protocol and return its result."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path, width, dark=False, scripts=True):
        """Show a file in a window `width` pixels wide."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def value(self, expression):
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def seen(self, *methods):
        """The events of these methods since the page was opened."""
        return [event for event in self.events if event.get("method") in methods]

    def _next(self):
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.from_browser], [], [], max(0, end - time.monotonic()))
            more = os.read(self.from_browser, 1 << 20) if ready else b""
            assert more, "the browser does not answer"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)
