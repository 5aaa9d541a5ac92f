"""A headless browser, controlled over the W3C's WebDriver protocol."""
import contextlib
import http.client
import json
import re
import subprocess
import sys
import tempfile

# For a headless browser that runs as root and sends no requests of its own.
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

# Milliseconds. The timeout of a script; callers set shorter ones.
PATIENCE = 600_000

# The key of an element in WebDriver's answers.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Stale(RuntimeError):
    """The element is no longer in the page."""


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
    """Starts chromedriver, and returns the process and its port."""
    driver = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True)
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return driver, int(found[1])
    sys.exit(f"{program} did not start")


class Browser:
    """A WebDriver session."""

    def __init__(self, port, program, profile):
        self.http = http.client.HTTPConnection("127.0.0.1", port)
        arguments = [*FLAGS, f"--user-data-dir={profile}"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": program, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self.request("POST", "/session", capabilities={"alwaysMatch": wanted})
        self.path = f"/session/{session['sessionId']}"
        self.version = session["capabilities"]["browserVersion"]
        self.post("timeouts", script=PATIENCE)

    def open(self, url):
        self.post("url", url=url)

    def run(self, script, *arguments):
        """Runs a script, and returns its value."""
        return self.post("execute/sync", script=script, args=arguments)

    def wait_for(self, script, *arguments):
        """Runs a script, and returns what it passes to its last argument, a callback."""
        return self.post("execute/async", script=script, args=arguments)

    def click(self, selector):
        # The page may replace the element before it is clicked.
        for _ in range(100):
            with contextlib.suppress(Stale):
                return self.post(f"element/{self.find(selector)}/click")
        raise TimeoutError(f"{selector} is replaced again and again")

    def type(self, selector, text):
        self.post(f"element/{self.find(selector)}/value", text=text)

    def press(self, *keys):
        """Presses and releases keys, one after the other, in the focused element."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.post("actions", actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def find(self, selector):
        return self.post("element", using="css selector", value=selector)[ELEMENT]

    def command(self, name, **parameters):
        """Sends a command of the DevTools protocol."""
        return self.post("goog/cdp/execute", cmd=name, params=parameters)

    def log(self, kind):
        """The entries of a log since the last call: `browser` or `performance`."""
        return self.post("se/log", type=kind)

    def quit(self):
        self.request("DELETE", self.path)

    def post(self, path, **body):
        return self.request("POST", f"{self.path}/{path}", **body)

    def request(self, method, path, **body):
        body = json.dumps(body) if method == "POST" else None
        self.http.request(method, path, body, {"Content-Type": "application/json"})
        response = self.http.getresponse()
        value = json.loads(response.read())["value"]
        if response.status != 200:
            stale = value["error"] == "stale element reference"
            raise (Stale if stale else RuntimeError)(value["message"])
        return value
