"""Chromium's own WebSocket, in a page of this project, driven over WebDriver. For the protocol see
`answering`. Its first line also has the page's origin.

usage: with_chromium.py CHROMIUM CHROMEDRIVER
"""
import functools
import http.server
import json
import pathlib
import sys
import threading

from answering import reply
from browser import browser

HERE = pathlib.Path(__file__).resolve().parent
PAGE = "with_chromium.html"

# Passes a request to the page, and returns its answer.
ANSWER = """
    const [request, done] = arguments;
    answer(request).then(done, (error) => done({ failed: String(error) }));
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def main(program, driver):
    handler = functools.partial(Quiet, directory=HERE)
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{pages.server_port}"
    with browser(program, driver) as chromium:
        chromium.open(f"{origin}/{PAGE}")
        reply({"client": f"Chromium {chromium.version}", "can": [], "origin": origin})
        for line in sys.stdin:
            reply(chromium.wait_for(ANSWER, json.loads(line)))


main(*sys.argv[1:])
