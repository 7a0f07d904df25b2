"""What a real browser does with a page, with the network off: Chromium without a window, spoken to through two pipes."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "there is no Chromium on this machine, so pages are not opened in a browser"
_PATIENCE = 60  # seconds


@dataclass
class Opened:
    """What happened while a page was opened.

    Attributes:
        requests: What it asked for, besides itself and what it holds itself.
        scripts: How many scripts it ran.
        errors: What the browser wrote to its console.
        width: How wide the content is, and how wide the window.
        text: What can be read.
        paper: The color of the background: red, green, blue.
        ink: The color of the text.
        contrast: The smallest contrast of a text with the background, as WCAG counts it: 1 is none, 21 black on white.
        folded: How high what stands behind folded lines is drawn, in pixels, in all of them together.
    """

    requests: list[str] = field(default_factory=list)
    scripts: int = 0
    errors: list[str] = field(default_factory=list)
    width: tuple[int, int] = (0, 0)
    text: str = ""
    paper: tuple[int, ...] = ()
    ink: tuple[int, ...] = ()
    contrast: float = 0.0
    folded: float = 0.0


_LOOKS = """(() => {
  const numbers = color => color.match(/[0-9.]+/g).slice(0, 3).map(Number);
  const light = rgb => rgb.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const against = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const paper = numbers(getComputedStyle(document.body).backgroundColor);
  const words = [...document.querySelectorAll("p,h1,h2,td,th,dt,dd,li,span,summary")].filter(e => e.innerText);
  const contrast = Math.min(...words.map(e => against(light(numbers(getComputedStyle(e).color)), light(paper))));
  const behind = [...document.querySelectorAll("details:not([open]) > :not(summary)")];
  const folded = behind.map(e => e.checkVisibility({contentVisibilityAuto: true}) ? e.getBoundingClientRect().height : 0)
    .reduce((sum, v) => sum + v, 0);
  return [paper, numbers(getComputedStyle(document.body).color), contrast, folded];
})()"""


def opened(page: str, *, media: str = "", scheme: str = "") -> Opened:
    """Open a page of HTML from a file, offline, and return what happened.

    Args:
        page: The page.
        media: `"print"` for how it is printed.
        scheme: `"dark"` or `"light"`, what the reader prefers.
    """
    with tempfile.TemporaryDirectory() as folder, _Chromium(Path(folder)) as browser:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        return browser.open(file.as_uri(), media, scheme)


class _Chromium:
    """A browser that is spoken to in its DevTools protocol: JSON that ends in a zero byte."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.waiting, self.events = folder, 0, b"", []

    def __enter__(self) -> "_Chromium":
        (its_input, self.out), (self.into, its_output) = os.pipe(), os.pipe()
        quiet = ("no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-extensions",
                 "disable-component-update", "disable-sync", "disable-dev-shm-usage", "host-resolver-rules=MAP * ~NOTFOUND")  # fmt: skip
        options = [f"--{each}" for each in (*quiet, "headless=new", f"user-data-dir={self.folder / 'profile'}")]
        # The protocol is spoken on the descriptors 3 and 4 of the browser.
        start = f'exec "$0" "$@" 3<&{its_input} 4>&{its_output}'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", start, str(CHROMIUM), *options, "--remote-debugging-pipe", "about:blank"],
            pass_fds=(its_input, its_output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(its_input)
        os.close(its_output)
        os.set_blocking(self.into, False)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.say("Browser.close")
            self.process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.into)

    def open(self, address: str, media: str, scheme: str) -> Opened:
        """Open a page and return what happened."""
        target = self.say("Target.createTarget", url="about:blank")["targetId"]
        session = self.say("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Network", "Runtime", "Debugger", "Log"):
            self.say(f"{part}.enable", session)
        self.say("Network.emulateNetworkConditions", session, offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)  # fmt: skip
        wanted = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
        self.say("Emulation.setEmulatedMedia", session, media=media, features=wanted)
        self.events.clear()
        self.say("Page.navigate", session, url=address)
        self.wait_for("Page.loadEventFired")
        happened = Opened()
        for event in self.events:
            name, facts = event["method"], event["params"]
            if name == "Network.requestWillBeSent" and not facts["request"]["url"].startswith(("data:", address)):
                happened.requests.append(facts["request"]["url"])
            if name == "Debugger.scriptParsed":
                happened.scripts += 1
            if name == "Log.entryAdded":
                happened.errors.append(facts["entry"]["text"])
        asked = "[document.documentElement.scrollWidth, window.innerWidth, document.body.innerText]"
        width, window, text = self.say("Runtime.evaluate", session, expression=asked, returnByValue=True)["result"]["value"]  # fmt: skip
        happened.width, happened.text = (width, window), text
        looks = self.say("Runtime.evaluate", session, expression=_LOOKS, returnByValue=True)["result"]["value"]
        happened.paper, happened.ink, happened.contrast, happened.folded = (
            tuple(looks[0]),
            tuple(looks[1]),
            looks[2],
            looks[3],
        )
        return happened

    def say(self, method: str, session: str | None = None, **given: object) -> dict:
        """Give a command and return its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": given} | ({"sessionId": session} if session else {})
        os.write(self.out, json.dumps(message).encode() + b"\0")
        return self._read(lambda heard: heard.get("id") == self.number)["result"]

    def wait_for(self, event: str) -> None:
        """Wait for an event."""
        if not any(each["method"] == event for each in self.events):
            self._read(lambda heard: heard.get("method") == event)

    def _read(self, wanted) -> dict:
        """Return the first message that is wanted; events are kept."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            message, zero, rest = self.waiting.partition(b"\0")
            if zero:
                self.waiting = rest
                heard = json.loads(message)
                if "method" in heard:
                    self.events.append(heard)
                if wanted(heard):
                    return heard
                continue
            try:
                self.waiting += os.read(self.into, 1 << 16)
            except BlockingIOError:
                time.sleep(0.01)
        raise TimeoutError("the browser did not answer")
