"""The gateway's console, in a real Chromium, as somebody uses it who opens it for the first time.

usage: console.py GATEWAY CHROMIUM CHROMEDRIVER [PICTURE]

Exits with 0 when all of it holds. Where a file is named, it takes the README's picture instead: of
a gateway on its usual ports, after some minutes of life.
"""
import base64
import contextlib
import json
import math
import pathlib
import random
import socket
import sys
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))
from browser import browser
from gateway import PATIENCE, Gateway

WEB = "--listen=ws://127.0.0.1:0"
RAW = "--listen=tcp://127.0.0.1:0?framing=lines"
ADMIN = "--admin=http://127.0.0.1:0"

# Keys, as WebDriver writes them.
ENTER, ESCAPE, DOWN, RIGHT = "\ue007", "\ue00c", "\ue015", "\ue014"

CROWD = 1000

# Looks again and again until there is something to see.
UNTIL = """
    const done = arguments[arguments.length - 1];
    const given = arguments;
    const began = performance.now();
    const look = () => {
      const found = ((...arguments) => { %s })(...given);
      if (found) done({ found });
      else if (performance.now() - began > %d) done({ page: document.body.innerText });
      else setTimeout(look, 20);
    };
    look();
"""


class Page:
    """The console in a browser."""

    def __init__(self, chromium, gateway):
        self.chromium = chromium
        self.gateway = gateway
        self.size(1280, 800)
        # What another page did, whose gateway is gone by now, is not of interest.
        chromium.open("about:blank")
        for kind in ("browser", "performance"):
            chromium.log(kind)
        chromium.open(gateway.admin)

    def __getattr__(self, name):
        return getattr(self.chromium, name)

    def size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def theme(self, name):
        feature = {"name": "prefers-color-scheme", "value": name}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def until(self, script, *arguments):
        """Waits until a script gives something, and gives that."""
        result = self.wait_for(UNTIL % (script, PATIENCE * 1000), *arguments)
        if "found" not in result:
            raise AssertionError(f"not seen: {script} {arguments}; but:\n{result['page']}")
        return result["found"]

    def sees(self, selector, text):
        """Waits until some text is in an element that is seen."""
        script = "return [...document.querySelectorAll(arguments[0])].some("
        script += "(it) => it.checkVisibility() && it.innerText.includes(arguments[1]));"
        self.until(script, selector, text)

    def sees_sessions(self, count):
        self.until("return document.getElementById('count').innerText === arguments[0];", f"{count:,}")

    def session_of(self, client):
        """The id that a client of `Try it` has; it counts from 1."""
        script = "return document.querySelectorAll('.client .link')[arguments[0]]?.innerText;"
        return self.until(script, client - 1)

    def say(self, client, text):
        self.type(f".client:nth-child({client}) input", text + ENTER)

    def hears(self, client, text):
        self.sees(f".client:nth-child({client}) .in", text)

    def open_details(self, session):
        script = "const row = [...document.querySelectorAll('#spacer .row')].find("
        script += "(it) => it.checkVisibility() && it.innerText.includes(arguments[0])); row?.click(); return Boolean(row);"
        self.until(script, session)
        self.sees("#details-id", session)

    def check(self, expected=()):
        """Nothing went wrong but what was expected, and nobody else was asked for anything."""
        errors = [it["message"] for it in self.log("browser") if it["level"] in ("SEVERE", "WARNING")]
        errors = [it for it in errors if not any(word in it for word in expected)]
        assert not errors, errors
        ours = {urllib.parse.urlsplit(url).netloc for url in (self.gateway.admin, *self.gateway.urls)}
        asked = set(self.asked())
        assert urllib.parse.urlsplit(self.gateway.admin).netloc in asked, asked
        assert asked <= ours, asked - ours

    def asked(self):
        """The hosts that the page asked for something."""
        for entry in self.log("performance"):
            event = json.loads(entry["message"])["message"]
            parameters = event["params"]
            if event["method"] == "Network.requestWillBeSent":
                url = urllib.parse.urlsplit(parameters["request"]["url"])
            elif event["method"] == "Network.webSocketCreated":
                url = urllib.parse.urlsplit(parameters["url"])
            else:
                continue
            if url.scheme not in ("data", "blob"):
                yield url.netloc


def first_visit(program, chromium):
    """Two clients from Try it are in the table, hear each other and a broadcast; one is closed, and gone."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway:
        page = Page(chromium, gateway)
        page.sees("#pill", "Live")
        page.sees("#empty", "Nobody is here yet")
        page.sees("#commands", f"nc 127.0.0.1 {gateway.urls[1].split(':')[2].split('?')[0]}")
        page.click("#empty button")
        page.sees_sessions(2)
        first, second = page.session_of(1), page.session_of(2)
        assert first != second
        for session in (first, second):
            page.sees("#spacer .row", session)
        page.say(1, "grüezi")
        page.hears(1, "grüezi")
        page.hears(2, "grüezi")
        page.click("#tab-all")
        page.type("#to-all", "dinner is served")
        page.click("#broadcast button")
        page.sees("#all-outcome", "Queued for 2 sessions")
        page.click("#tab-try")
        page.hears(1, "dinner is served")
        page.hears(2, "dinner is served")
        page.open_details(second)
        # Its own panel lies below the details.
        page.run("document.querySelector('.client:nth-child(2) input').value = 'watch me'")
        page.run("document.querySelector('.client:nth-child(2) form').requestSubmit()")
        page.sees("#details .log .in", "watch me")
        page.type("#details .say textarea", "<b>just you</b>" + ENTER)
        page.sees("#details .log .out", "<b>just you</b>")
        page.click("#details .door summary")
        page.click("#details .danger")
        page.sees("#details .over", "Gone: it was closed from here or by a backend, code 1000")
        page.press(ESCAPE)
        page.sees_sessions(1)
        page.hears(2, "<b>just you</b>")
        page.sees(".client:nth-child(2) .note", "Closed, code 1000")
        page.click("#tab-feed")
        page.sees("#feed-log .gone", second)
        page.check()


def raw_clients(program, chromium):
    """A raw client is in the table with its address, and what it says is seen as it says it."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway:
        page = Page(chromium, gateway)
        with dial(gateway.urls[1]) as client:
            host, port = client.getsockname()
            page.sees("#spacer .row", f"{host}:{port}")
            page.sees("#spacer .row", "raw TCP")
            page.click("#tab-feed")
            client.sendall(b"from a shell\n")
            page.sees("#feed-log .said", "from a shell")
            in_and_out = "const [a, b] = ['in', 'out'].map((way) => document.querySelector(`#spacer .c-${way}`));"
            page.until(in_and_out + "return a.innerText.endsWith('1') && b.innerText.endsWith('1');")
        page.sees_sessions(0)
        page.check()


def figures(program, chromium):
    """The vital figures move: messages, bytes, sessions, and the 99th percentile of the tick."""
    with Gateway(program, WEB, RAW, ADMIN, "--mode=echo") as gateway:
        page = Page(chromium, gateway)
        page.sees("#pill", "Live")
        with dial(gateway.urls[1]) as client:
            figure = "return document.querySelectorAll('.vital')[%d].querySelector('.figures').innerText"
            page.until(figure % 2 + ".startsWith('1');")
            client.sendall(b"0123456789\n" * 500)
            page.until(figure % 0 + ".match(/[1-9]/);")
            page.until(figure % 1 + ".match(/[1-9]/);")
            page.until(figure % 3 + ".match(/[0-9] *\\n*(µs|ms)/);")
            page.until("return document.getElementById('facts').innerText.match(/Memory\\s*[0-9.]+ MiB/);")
        page.check()


def keyboard(program, chromium):
    """The table, a session's details and the tabs are reached by keys alone, and the focus comes back."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway, dial(gateway.urls[1]), dial(gateway.urls[1]):
        page = Page(chromium, gateway)
        page.sees_sessions(2)
        page.run("document.getElementById('grid').focus()")
        page.press(DOWN, ENTER)
        page.until("return document.activeElement.id === 'details-id';")
        second = page.run("return document.activeElement.innerText")
        page.sees("#spacer .row[aria-selected='true']", second)
        page.press(ESCAPE)
        page.until("return document.activeElement.id === 'grid';")
        page.press("/")
        page.until("return document.activeElement.id === 'search';")
        page.press(*second)
        page.until("return document.getElementById('count').innerText === '1 of 2';")
        page.run("document.getElementById('tab-try').focus()")
        page.press(RIGHT)
        page.until("return document.activeElement.id === 'tab-all';")
        page.sees("#all label", "A message to")
        page.check()


def crowd(program, chromium):
    """A thousand sessions are a few dozen rows in the page, wherever one scrolls, and sort at once."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway, contextlib.ExitStack() as clients:
        ports = [clients.enter_context(dial(gateway.urls[1])).getsockname()[1] for _ in range(CROWD)]
        page = Page(chromium, gateway)
        page.sees_sessions(CROWD)
        page.click(".c-remote button")
        first, last = min(map(str, ports)), max(map(str, ports))
        page.sees("#spacer .row .c-remote", f":{first}")
        page.run("const view = document.getElementById('view'); view.scrollTop = view.scrollHeight;")
        page.sees("#spacer .row .c-remote", f":{last}")
        rows = page.run("return document.querySelectorAll('#spacer .row').length")
        assert rows < 60, rows
        page.type("#search", f"127.0.0.1:{first}")
        page.sees("#count", f"1 of {CROWD:,}")
        page.check()


def busy(program, chromium):
    """Where much is said, the page follows figures only, so as not to hold up the house, unless told to."""
    with Gateway(program, WEB, RAW, ADMIN, "--mode=driver") as gateway:
        page = Page(chromium, gateway)
        with dial(gateway.urls[1]) as client:
            page.sees_sessions(1)
            is_over = threading.Event()
            flood = threading.Thread(target=say_much, args=(client, is_over))
            flood.start()
            try:
                page.sees("#banners", "not each message")
                for _ in range(3):
                    heard = "document.querySelector('#spacer .c-in').innerText"
                    page.until(f"return {heard} !== arguments[0];", page.run(f"return {heard}"))
                page.click("#banners button")
                page.until("return !document.getElementById('banners').innerText.includes('not each');")
                page.sees("#pill", "Live")
            finally:
                is_over.set()
                flood.join()
        page.sees_sessions(0)
        # A link may be let go before it is there, where both decisions come in quick succession.
        page.check(expected=["WebSocket is closed before the connection is established"])


def say_much(client, is_over):
    while not is_over.is_set():
        client.sendall(b"a few words\n" * 1000)


def narrow(program, chromium):
    """At 360 px nothing is wider than the page, with nobody and with clients, in both themes."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway:
        page = Page(chromium, gateway)
        page.size(360, 740)
        fits = "return document.scrollingElement.scrollWidth <= 360;"
        paper = "return getComputedStyle(document.body).backgroundColor;"
        papers = set()
        for theme in ("light", "dark"):
            page.theme(theme)
            papers.add(page.run(paper))
            assert page.run(fits), theme
        assert len(papers) == 2, papers
        page.theme("light")
        page.sees("#empty", "Nobody")
        page.click("#empty button")
        page.sees_sessions(2)
        page.say(1, "word " * 60)
        page.hears(2, "word word")
        assert page.run(fits), "with clients"
        page.open_details(page.session_of(1))
        assert page.run(fits), "with details"
        page.check()


def token(program, chromium):
    """Without the token nothing is shown; with it all is, and it is kept for the tab only."""
    with Gateway(program, WEB, RAW, ADMIN, "--admin-token=s3cret/~and-long-enough?") as gateway:
        page = Page(chromium, gateway)
        page.sees("#sign-in", "May I see your token?")
        assert not page.run("return document.getElementById('house').checkVisibility()")
        page.type("#token", "another" + ENTER)
        page.sees("#wrong", "That is not the token")
        page.type("#token", "s3cret/~and-long-enough?" + ENTER)
        page.sees("#pill", "Live")
        page.sees("#empty", "Nobody")
        assert page.run("return localStorage.length") == 0
        page.open(gateway.admin)
        page.sees("#pill", "Live")
        page.click("#sign-out")
        page.sees("#sign-in", "May I see your token?")
        assert page.run("return sessionStorage.length") == 0
        page.check(expected=["401"])


def restart(program, chromium):
    """A gateway that goes and comes back is said to be gone, then found, and to have restarted."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway:
        page = Page(chromium, gateway)
        with dial(gateway.urls[1]):
            page.sees_sessions(1)
            gateway.stop()
            page.sees("#pill", "Reconnecting in")
            page.sees("#banners", "The gateway has stopped")
            gateway.wait()
    again = [f"--listen={url}" for url in gateway.urls] + [f"--admin={gateway.admin.rstrip('/')}"]
    with Gateway(program, *again):
        page.sees("#pill", "Live")
        page.sees("#banners", "The gateway restarted")
        page.sees_sessions(0)
        page.check(expected=["ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "503"])


SCENARIOS = [first_visit, raw_clients, figures, keyboard, crowd, busy, narrow, token, restart]


HOUSE = [
    "kitchen: two risotto for table 4",
    "porch: a guest has arrived",
    "cellar: the Barolo is up",
    "garage: the car is ready",
    "garden: tea for six at four",
]


def picture(program, chromium, file):
    """Some who talk, for as long as a chart shows."""
    where = ["--listen=ws://127.0.0.1:9001", "--listen=tcp://127.0.0.1:9003?framing=lines"]
    where += ["--admin=http://127.0.0.1:9002"]
    with Gateway(program, *where) as gateway, contextlib.ExitStack() as clients:
        page = Page(chromium, gateway)
        rooms = {line: clients.enter_context(dial(gateway.urls[1])) for line in HOUSE}
        for _ in range(2):
            page.click("#open-client")
        page.session_of(2)
        for moment in range(480):
            # Now more is going on, now less.
            if random.random() < 0.35 + 0.3 * math.sin(moment / 40):
                line = random.choice(HOUSE)
                rooms[line].sendall(line.encode() + b"\n")
            time.sleep(0.2)
        page.say(1, "Good evening")
        page.say(2, "Good evening, madam")
        time.sleep(1.5)
        taken = page.command("Page.captureScreenshot", format="png")
        pathlib.Path(file).write_bytes(base64.b64decode(taken["data"]))
        page.check()


def dial(url):
    url = urllib.parse.urlsplit(url)
    return socket.create_connection((url.hostname, url.port), PATIENCE)


def main(program, chromium, driver, *picture_file):
    with browser(chromium, driver) as opened:
        if picture_file:
            return picture(program, opened, *picture_file)
        for scenario in SCENARIOS:
            scenario(program, opened)
            print("ok:", scenario.__doc__, flush=True)


main(*sys.argv[1:])
