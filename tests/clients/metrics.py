"""Checks the metrics with Prometheus' own checker."""
import pathlib
import re
import subprocess
import tempfile
import urllib.request

from gateway import PATIENCE, Gateway
from peers import RawLines

LISTEN = ("--listen=ws://127.0.0.1:0", "--listen=tcp://127.0.0.1:0?framing=lines")

# Metrics that the checker must reject, to show that it checks.
FAULTS = [
    ("majordomo_connects_total", "majordomo_connects"),
    ("majordomo_connects_total 1", "majordomo_connects_total one"),
    ('le="0.5"', 'le="half"'),
]


def check(program, promtool):
    """promtool accepts the metrics, before a client connects, meanwhile, and afterwards."""
    with Gateway(program, *LISTEN, "--admin=http://127.0.0.1:0", stdio=True) as gateway:
        gateway.event("ready")
        for scraped in scrapes(gateway):
            code, output = lint(promtool, scraped)
            if code or output:
                raise AssertionError(f"promtool ended with {code}: {output}")
        for good, bad in FAULTS:
            if good not in scraped:
                raise AssertionError(f"no {good} in the metrics:\n{scraped}")
            if lint(promtool, scraped.replace(good, bad)) == (0, ""):
                raise AssertionError(f"promtool does not notice {bad}")


def check_config(promtool):
    """promtool finds no fault with the configuration in docs/metrics.md."""
    document = pathlib.Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
    config = re.search(r"```yaml\n(.*?)```", document.read_text(), re.S)[1]
    token = "/etc/majordomo.token"
    if token not in config:
        raise AssertionError(f"no {token} in the configuration:\n{config}")
    with tempfile.TemporaryDirectory() as place:
        file = pathlib.Path(place) / "majordomo.token"
        file.write_text("a-token-of-some-length")
        config = config.replace(token, str(file))
        for text, is_good in [(config, True), (config.replace("targets", "target"), False)]:
            file = pathlib.Path(place) / "prometheus.yml"
            file.write_text(text)
            command = [promtool, "check", "config", file]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            done = subprocess.run(command, encoding="utf-8", timeout=PATIENCE, **pipes)
            if (done.returncode == 0) != is_good:
                raise AssertionError(f"promtool ended with {done.returncode}: {done.stdout}")


def scrapes(gateway):
    """The metrics, while a client connects, sends and disconnects."""
    yield scrape(gateway)
    client = RawLines()
    client.connect(gateway.urls[1])
    gateway.event("connect")
    client.send("hello")
    gateway.event("message")
    yield scrape(gateway)
    client.leave()
    gateway.event("disconnect")
    yield scrape(gateway)


def scrape(gateway):
    with urllib.request.urlopen(gateway.admin + "metrics", timeout=PATIENCE) as response:
        kind = response.headers["Content-Type"]
        if kind != "text/plain; version=0.0.4; charset=utf-8":
            raise AssertionError(f"the metrics come as {kind}")
        return response.read().decode()


def lint(promtool, text):
    """Its exit code and its output."""
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout.strip()
