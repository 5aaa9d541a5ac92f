"""Chromium's own WebSocket, in a page of ours, driven over WebDriver. What it is told: see
`answering`. Its greeting tells the page's origin as well.

usage: with_chromium.py CHROMIUM CHROMEDRIVER
"""
import functools
import http.client
import http.server
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

from answering import tell

HERE = pathlib.Path(__file__).resolve().parent
PAGE = "with_chromium.html"

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

# Milliseconds. How long the page may wait for a message; whoever asks gives up earlier.
PATIENCE = 600_000


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Browser:
    """A browser behind its driver, as the W3C's WebDriver has it."""

    def __init__(self, port, program, profile):
        self.http = http.client.HTTPConnection("127.0.0.1", port)
        arguments = [*FLAGS, f"--user-data-dir={profile}"]
        options = {"binary": program, "args": arguments}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options}
        session = self.ask("POST", "/session", capabilities={"alwaysMatch": wanted})
        self.path = f"/session/{session['sessionId']}"
        self.version = session["capabilities"]["browserVersion"]
        self.ask("POST", f"{self.path}/timeouts", script=PATIENCE)

    def open(self, url):
        self.ask("POST", f"{self.path}/url", url=url)

    def answer(self, request):
        """What the page answers."""
        script = """
            const [request, done] = arguments;
            answer(request).then(done, (error) => done({ failed: String(error) }));
        """
        return self.ask("POST", f"{self.path}/execute/async", script=script, args=[request])

    def quit(self):
        self.ask("DELETE", self.path)

    def ask(self, method, path, **body):
        body = json.dumps(body) if method == "POST" else None
        self.http.request(method, path, body, {"Content-Type": "application/json"})
        response = self.http.getresponse()
        value = json.loads(response.read())["value"]
        if response.status != 200:
            raise RuntimeError(value["message"])
        return value


def start_driver(program):
    """Starts the browser's driver, and gives it with its port."""
    driver = subprocess.Popen([program, "--port=0"], stdout=subprocess.PIPE, text=True)
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return driver, int(found[1])
    sys.exit(f"{program} did not start")


def main(program, driver):
    handler = functools.partial(Quiet, directory=HERE)
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{pages.server_port}"
    driver, port = start_driver(driver)
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            browser = Browser(port, program, profile)
            browser.open(f"{origin}/{PAGE}")
            tell({"client": f"Chromium {browser.version}", "can": [], "origin": origin})
            for line in sys.stdin:
                tell(browser.answer(json.loads(line)))
            browser.quit()
    finally:
        driver.terminate()
        driver.wait()


main(*sys.argv[1:])
