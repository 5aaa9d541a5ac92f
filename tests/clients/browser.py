"""A browser without a screen, behind its driver, as the W3C's WebDriver has it."""
import contextlib
import http.client
import json
import re
import subprocess
import sys
import tempfile

# What a browser without a screen needs where it runs as root, and nothing that calls home.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Milliseconds. How long a script may wait; whoever asks gives up earlier.
PATIENCE = 600_000

# How WebDriver names the key under which it gives an element.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Stale(RuntimeError):
    """The element that was found is not in the page any more."""


@contextlib.contextmanager
def browser(program, driver):
    """A browser that runs until the `with` block ends."""
    process, port = start_driver(driver)
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            found = Browser(port, program, profile)
            yield found
            found.quit()
    finally:
        process.terminate()
        process.wait()


def start_driver(program):
    """Starts the browser's driver, and gives it with its port."""
    driver = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True)
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return driver, int(found[1])
    sys.exit(f"{program} did not start")


class Browser:
    """What can be asked of it."""

    def __init__(self, port, program, profile):
        self.http = http.client.HTTPConnection("127.0.0.1", port)
        arguments = [*FLAGS, f"--user-data-dir={profile}"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": program, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self.ask("POST", "/session", capabilities={"alwaysMatch": wanted})
        self.path = f"/session/{session['sessionId']}"
        self.version = session["capabilities"]["browserVersion"]
        self.tell("timeouts", script=PATIENCE)

    def open(self, url):
        self.tell("url", url=url)

    def run(self, script, *arguments):
        """What a script returns."""
        return self.tell("execute/sync", script=script, args=arguments)

    def wait_for(self, script, *arguments):
        """What a script gives when it ends by calling its last argument."""
        return self.tell("execute/async", script=script, args=arguments)

    def click(self, selector):
        # A page that is at work may draw the element anew before it is clicked.
        for _ in range(100):
            with contextlib.suppress(Stale):
                return self.tell(f"element/{self.find(selector)}/click")
        raise TimeoutError(f"{selector} never stays")

    def type(self, selector, text):
        self.tell(f"element/{self.find(selector)}/value", text=text)

    def press(self, *keys):
        """Presses and releases keys, one after the other, wherever the focus is."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.tell("actions", actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def find(self, selector):
        return self.tell("element", using="css selector", value=selector)[ELEMENT]

    def command(self, name, **parameters):
        """A command of the DevTools' protocol."""
        return self.tell("goog/cdp/execute", cmd=name, params=parameters)

    def log(self, kind):
        """What was logged since it was asked last: `browser` or `performance`."""
        return self.tell("se/log", type=kind)

    def quit(self):
        self.ask("DELETE", self.path)

    def tell(self, what, **body):
        return self.ask("POST", f"{self.path}/{what}", **body)

    def ask(self, method, path, **body):
        body = json.dumps(body) if method == "POST" else None
        self.http.request(method, path, body, {"Content-Type": "application/json"})
        response = self.http.getresponse()
        value = json.loads(response.read())["value"]
        if response.status != 200:
            stale = value["error"] == "stale element reference"
            raise (Stale if stale else RuntimeError)(value["message"])
        return value
