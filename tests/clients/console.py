"""Tests of the gateway's console in Chromium.

usage: console.py GATEWAY CHROMIUM CHROMEDRIVER [PICTURE]

Exits with 0 if all tests pass. With PICTURE it takes the README's picture instead: of a gateway on
its default ports, after a minute and a half of traffic.
"""
import base64
import contextlib
import json
import math
import pathlib
import random
import re
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
# What the page knows of sessions, without the page.
CONSOLE = HERE.parents[1] / "src" / "bin" / "majordomo" / "admin" / "console"
MODEL = (CONSOLE / "model.js").read_text(encoding="utf-8")

# Keys, in WebDriver's encoding.
ENTER, ESCAPE, DOWN, RIGHT = "\ue007", "\ue00c", "\ue015", "\ue014"

MANY = 1000

THEMES = ("light", "dark")
PHONES = [(390, 844), (360, 740)]
DESKTOP = [(1280, 800)]

# Figures with an explanation, and a part of it.
EXPLANATIONS = [
    ("figcaption", "Loop iteration, p99", "99 % of the iterations"),
    ("#facts div", "Queued bytes", "not yet written to their sockets"),
    ("#facts div", "Rejected sends", "its outbox was full"),
    ("#facts div", "Disconnects", "by cause"),
]

# The contrast of text that WCAG 2.1 asks for at level AA.
CONTRAST = 4.5

# Runs a script repeatedly until it returns something.
UNTIL = """
    const done = arguments[arguments.length - 1];
    const given = arguments;
    const began = performance.now();
    const poll = () => {
      const found = ((...arguments) => { %s })(...given);
      if (found) done({ found });
      else if (performance.now() - began > %d) done({ page: document.body.innerText });
      else setTimeout(poll, 20);
    };
    poll();
"""

# Moves the focus to an explained figure, and gives the text that is then shown below it.
EXPLANATION = """
    const [selector, label] = arguments;
    const nodes = [...document.querySelectorAll(selector)];
    const found = nodes.find((node) => node.innerText.startsWith(label));
    found?.focus();
    if (!found || document.activeElement !== found) return null;
    const { content } = getComputedStyle(found, "::after");
    return content.includes(found.title) || content === "attr(title)" ? found.title : null;
"""

# Sets the width of all scrollbars; 0 is how overlay scrollbars behave.
SCROLLBARS = """
    const style = document.createElement("style");
    // The policy of the page runs only what has its nonce.
    style.nonce = document.querySelector("style").nonce;
    style.textContent = `::-webkit-scrollbar { width: ${arguments[0]}px !important; }`;
    document.head.append(style);
"""

# Whether the head of the table and its first row have their cells at the same places.
COLUMNS_MATCH = """
    const view = document.getElementById("view");
    const cells = (row) => JSON.stringify([...document.querySelector(row).children].map((cell) => {
      const { left, right } = cell.getBoundingClientRect();
      return [left, right];
    }));
    return view.offsetWidth - view.clientWidth === arguments[0] && cells("#heads") === cells("#spacer .row");
"""

# The visible texts whose contrast to their background is below a ratio, and the ratio of each.
ILLEGIBLE = """
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    // Paints colours over each other, as the page does, and gives the result.
    const painted = (colours) => {
      canvas.clearRect(0, 0, 1, 1);
      for (const colour of colours) {
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
      }
      return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (colour) => {
      const [r, g, b] = colour.map((it) => it / 255).map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    const check = (text, node, pseudo) => {
      const behind = [];
      for (let part = node; part; part = part.parentElement) behind.unshift(getComputedStyle(part).backgroundColor);
      const [one, other] = [behind, [...behind, getComputedStyle(node, pseudo).color]].map(painted).map(luminance);
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      if (ratio < arguments[0]) found.push(`${ratio.toFixed(2)}: ${text}`);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { parentElement: node, textContent } = texts.currentNode;
      const isDrawn = node.checkVisibility({ opacityProperty: true }) && node.getClientRects().length;
      if (textContent.trim() && isDrawn && !/SCRIPT|STYLE|OPTION/.test(node.tagName)) check(textContent, node, null);
    }
    for (const node of document.querySelectorAll("[placeholder]")) {
      if (node.checkVisibility()) check(node.placeholder, node, "::placeholder");
    }
    return found;
"""


class Page:
    """The console in a browser."""

    def __init__(self, chromium, gateway):
        self.chromium = chromium
        self.gateway = gateway
        self.size(1280, 800)
        # Discards the log of an earlier page, whose gateway has stopped.
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

    def fits(self, when, sizes=PHONES):
        """At these sizes and in both themes, nothing is wider than the page and all text is legible."""
        for width, height in sizes:
            self.size(width, height)
            for theme in THEMES:
                self.theme(theme)
                wide = self.run("return document.scrollingElement.scrollWidth")
                assert wide <= width, (when, width, theme, wide)
                illegible = self.run(ILLEGIBLE, CONTRAST)
                assert not illegible, (when, width, theme, illegible)

    def until(self, script, *arguments):
        """Waits until a script returns something, and returns that."""
        result = self.wait_for(UNTIL % (script, PATIENCE * 1000), *arguments)
        if "found" not in result:
            raise AssertionError(f"not seen: {script} {arguments}; but:\n{result['page']}")
        return result["found"]

    def sees(self, selector, text):
        """Waits until a visible element contains some text."""
        script = "return [...document.querySelectorAll(arguments[0])].some("
        script += "(it) => it.checkVisibility() && it.innerText.includes(arguments[1]));"
        self.until(script, selector, text)

    def sees_sessions(self, count):
        self.until("return document.getElementById('count').innerText === arguments[0];", f"{count:,}")

    def session_of(self, client):
        """The session id of a client of `Try it`; clients count from 1."""
        script = "return document.querySelectorAll('.client .link')[arguments[0]]?.innerText;"
        return self.until(script, client - 1)

    def send(self, client, text):
        self.type(f".client:nth-child({client}) input", text + ENTER)

    def receives(self, client, text):
        self.sees(f".client:nth-child({client}) .in", text)

    def open_details(self, session):
        script = "const row = [...document.querySelectorAll('#spacer .row')].find("
        script += "(it) => it.checkVisibility() && it.innerText.includes(arguments[0])); row?.click(); return Boolean(row);"
        self.until(script, session)
        self.sees("#details-id", session)

    def check(self, expected=()):
        """No unexpected error is in the browser's log, and no request went to another host."""
        errors = [it["message"] for it in self.log("browser") if it["level"] in ("SEVERE", "WARNING")]
        errors = [it for it in errors if not any(word in it for word in expected)]
        assert not errors, errors
        ours = {urllib.parse.urlsplit(url).netloc for url in (self.gateway.admin, *self.gateway.urls)}
        requested = set(self.requested())
        assert urllib.parse.urlsplit(self.gateway.admin).netloc in requested, requested
        assert requested <= ours, requested - ours

    def requested(self):
        """The hosts that the page sent requests to."""
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
    """Two clients of Try it are listed and receive messages and a broadcast; one is closed, and disappears."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway:
        page = Page(chromium, gateway)
        page.sees("#pill", "Live")
        page.sees("#empty", "No sessions")
        page.sees("#commands", f"nc 127.0.0.1 {gateway.urls[1].split(':')[2].split('?')[0]}")
        page.click("#empty button")
        page.sees_sessions(2)
        first, second = page.session_of(1), page.session_of(2)
        assert first != second
        for session in (first, second):
            page.sees("#spacer .row", session)
        page.send(1, "grüezi")
        page.receives(1, "grüezi")
        page.receives(2, "grüezi")
        page.click("#tab-all")
        page.type("#broadcast-text", "a message to all")
        page.click("#broadcast button")
        page.sees("#broadcast-outcome", "Queued for 2 sessions")
        page.click("#tab-try")
        page.receives(1, "a message to all")
        page.receives(2, "a message to all")
        page.open_details(second)
        # The details cover its own panel.
        page.run("document.querySelector('.client:nth-child(2) input').value = 'watch me'")
        page.run("document.querySelector('.client:nth-child(2) form').requestSubmit()")
        page.sees("#details .log .in", "watch me")
        page.type("#details .send textarea", "<b>just you</b>" + ENTER)
        page.sees("#details .log .out", "<b>just you</b>")
        page.click("#details .close summary")
        page.click("#details .danger")
        end = "Session ended: closed by this console, the HTTP API or a backend, code 1000"
        page.sees("#details .end", end)
        page.press(ESCAPE)
        page.sees_sessions(1)
        page.receives(2, "<b>just you</b>")
        page.sees(".client:nth-child(2) .note", "Closed, code 1000")
        page.click("#tab-activity")
        page.sees("#activity-log .disconnected", second)
        page.check()


def raw_clients(program, chromium):
    """A raw TCP client is listed with its address, and its messages are shown as they arrive."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway:
        page = Page(chromium, gateway)
        with dial(gateway.urls[1]) as client:
            host, port = client.getsockname()
            page.sees("#spacer .row", f"{host}:{port}")
            page.sees("#spacer .row", "raw TCP")
            page.click("#tab-activity")
            client.sendall(b"from a shell\n")
            page.sees("#activity-log .message", "from a shell")
            in_and_out = "const [a, b] = ['in', 'out'].map((way) => document.querySelector(`#spacer .c-${way}`));"
            page.until(in_and_out + "return a.innerText.endsWith('1') && b.innerText.endsWith('1');")
        page.sees_sessions(0)
        page.check()


def figures(program, chromium):
    """The figures change with traffic: messages, bytes, sessions, and the loop iteration's 99th percentile."""
    with Gateway(program, WEB, RAW, ADMIN, "--mode=echo") as gateway:
        page = Page(chromium, gateway)
        page.sees("#pill", "Live")
        with dial(gateway.urls[1]) as client:
            figure = "return document.querySelectorAll('.chart')[%d].querySelector('.figures').innerText"
            page.until(figure % 2 + ".startsWith('1');")
            client.sendall(b"0123456789\n" * 500)
            page.until(figure % 0 + ".match(/[1-9]/);")
            page.until(figure % 1 + ".match(/[1-9]/);")
            page.until(figure % 3 + ".match(/[0-9] *\\n*(µs|ms)/);")
            page.until("return document.getElementById('facts').innerText.match(/Memory\\s*[0-9.]+ MiB/);")
        page.check()


def keyboard(program, chromium):
    """Keys alone reach the table, a session's details, the tabs and the explanations; the focus returns."""
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
        page.sees("#all label", "Message to")
        for selector, label, text in EXPLANATIONS:
            explanation = page.until(EXPLANATION, selector, label)
            assert text in explanation, (label, explanation)
        page.check()


def many_sessions(program, chromium):
    """A thousand sessions take a few dozen rows of the page at any scroll position, and are sorted at once."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway, contextlib.ExitStack() as clients:
        ports = [clients.enter_context(dial(gateway.urls[1])).getsockname()[1] for _ in range(MANY)]
        page = Page(chromium, gateway)
        page.sees_sessions(MANY)
        page.click(".c-remote button")
        first, last = min(map(str, ports)), max(map(str, ports))
        page.sees("#spacer .row .c-remote", f":{first}")
        page.run("const view = document.getElementById('view'); view.scrollTop = view.scrollHeight;")
        page.sees("#spacer .row .c-remote", f":{last}")
        rows = page.run("return document.querySelectorAll('#spacer .row').length")
        assert rows < 60, rows
        page.type("#search", f"127.0.0.1:{first}")
        page.sees("#count", f"1 of {MANY:,}")
        page.check()


def busy(program, chromium):
    """At a high message rate the page pauses the message preview and goes on with figures, until it is resumed."""
    with Gateway(program, WEB, RAW, ADMIN, "--mode=backend") as gateway:
        page = Page(chromium, gateway)
        with dial(gateway.urls[1]) as client:
            page.sees_sessions(1)
            is_over = threading.Event()
            sender = threading.Thread(target=flood, args=(client, is_over))
            sender.start()
            try:
                page.sees("#banners", "Message preview paused: rate too high")
                for _ in range(3):
                    received = "document.querySelector('#spacer .c-in').innerText"
                    page.until(f"return {received} !== arguments[0];", page.run(f"return {received}"))
                page.until(f"return {received}.endsWith('M');")
                cut = "const { scrollWidth, clientWidth } = document.querySelector('#spacer .c-in');"
                assert not page.run(cut + "return scrollWidth > clientWidth"), "a count is cut off"
                page.click("#banners button")
                page.until("return !document.getElementById('banners').innerText.includes('paused');")
                page.sees("#pill", "Live")
            finally:
                is_over.set()
                sender.join()
        page.sees_sessions(0)
        # The page may close a link before it is open, if both decisions follow each other quickly.
        page.check(expected=["WebSocket is closed before the connection is established"])


def flood(client, is_over):
    while not is_over.is_set():
        client.sendall(b"a few words\n" * 1000)


def columns(program, chromium):
    """The table's head and its rows have the same columns, with a scrollbar that takes room or without."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway, dial(gateway.urls[1]):
        page = Page(chromium, gateway)
        page.sees_sessions(1)
        for width in (10, 0):
            page.run(SCROLLBARS, width)
            page.until(COLUMNS_MATCH, width)
        page.check()


def ages(_program, chromium):
    """No session was last active before it came, whatever the latency of a report."""
    report = "model.report({ id: 'a', duration_ms: 0, silent_ms: 900 })"
    is_later = chromium.run(f"{MODEL}\nmodel.add('a'); const a = {report}; return a.active >= a.since")
    assert is_later, "the report is taken for older than the session"


def narrow(program, chromium):
    """At 390 and 360 px nothing is wider than the page and all text is legible, in both themes."""
    with Gateway(program, WEB, RAW, ADMIN) as gateway:
        page = Page(chromium, gateway)
        page.sees("#empty", "No sessions")
        page.fits("without sessions")
        page.size(390, 844)
        page.click("#empty button")
        page.sees_sessions(2)
        page.send(1, "word " * 60)
        page.receives(2, "word word")
        page.fits("with clients")
        page.click("#tab-all")
        page.fits("with the broadcast form")
        page.click("#tab-activity")
        page.sees("#activity-log .message", "word word")
        page.fits("with the activity")
        page.click("#tab-try")
        page.open_details(page.session_of(1))
        page.click("#details .close summary")
        page.fits("with details")
        page.check()


def dark(program, chromium):
    """At 1280 px the page has another background in the dark theme, by the system and by the button, and all text is legible."""
    background = "return getComputedStyle(document.body).backgroundColor"
    with Gateway(program, WEB, RAW, ADMIN) as gateway, dial(gateway.urls[1]):
        page = Page(chromium, gateway)
        page.sees_sessions(1)
        backgrounds = []
        for theme in THEMES:
            page.theme(theme)
            backgrounds.append(page.run(background))
        assert brightness(backgrounds[0]) > 200 and brightness(backgrounds[1]) < 50, backgrounds
        # The button overrides the system: it goes from `system` to `light` to `dark`.
        for expected in backgrounds:
            page.click("#theme")
            assert page.run(background) == expected, (expected, backgrounds)
        page.click("#theme")
        page.click("#opener button")
        page.sees_sessions(2)
        page.fits("with a client", sizes=DESKTOP)
        page.open_details(page.session_of(1))
        page.fits("with details", sizes=DESKTOP)
        page.check()


def token(program, chromium):
    """Without the token nothing is shown; with it everything is, and it is stored for the tab only."""
    with Gateway(program, WEB, RAW, ADMIN, "--admin-token=s3cret/~and-long-enough?") as gateway:
        page = Page(chromium, gateway)
        page.sees("#sign-in", "Sign in with your admin token")
        assert not page.run("return document.getElementById('console').checkVisibility()")
        page.type("#token", "another" + ENTER)
        page.sees("#wrong", "The token is wrong")
        page.type("#token", "s3cret/~and-long-enough?" + ENTER)
        page.sees("#pill", "Live")
        page.sees("#empty", "No sessions")
        assert page.run("return localStorage.length") == 0
        page.open(gateway.admin)
        page.sees("#pill", "Live")
        page.click("#sign-out")
        page.sees("#sign-in", "Sign in with your admin token")
        assert page.run("return sessionStorage.length") == 0
        page.check(expected=["401"])


def restart(program, chromium):
    """The page says that the gateway has stopped, reconnects, and says that it restarted."""
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


SCENARIOS = [first_visit, raw_clients, figures, keyboard, many_sessions, columns, ages, busy, narrow, dark, token, restart]


LINES = [
    "thermostat 1: 21.5 degrees",
    "thermostat 2: 19.0 degrees",
    "door 3: open",
    "meter 4: 1,250 W",
    "pump 5: off",
]


def picture(program, chromium, file):
    """A few clients that send messages, for as long as a chart shows."""
    where = ["--listen=ws://127.0.0.1:9001", "--listen=tcp://127.0.0.1:9003?framing=lines"]
    where += ["--admin=http://127.0.0.1:9002"]
    with Gateway(program, *where) as gateway, contextlib.ExitStack() as clients:
        page = Page(chromium, gateway)
        senders = {line: clients.enter_context(dial(gateway.urls[1])) for line in LINES}
        for _ in range(2):
            page.click("#open-client")
        page.session_of(2)
        for moment in range(480):
            # The rate rises and falls.
            if random.random() < 0.35 + 0.3 * math.sin(moment / 40):
                line = random.choice(LINES)
                senders[line].sendall(line.encode() + b"\n")
            time.sleep(0.2)
        page.send(1, "Hello")
        page.send(2, "Hello, client 1")
        time.sleep(1.5)
        taken = page.command("Page.captureScreenshot", format="png")
        pathlib.Path(file).write_bytes(base64.b64decode(taken["data"]))
        page.check()


def brightness(colour):
    """The mean of the channels of an opaque colour, as browsers write it."""
    return sum(map(int, re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour).groups())) / 3


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
