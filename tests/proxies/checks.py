"""Runs and checks the snippets of docs/operations.md. What is given: see `run`."""
import concurrent.futures
import contextlib
import dataclasses
import json
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "common"))
import yaml
from client import Client, refusal
from gateway import PATIENCE, ROOT, Gateway
from proxies import PROXIES, Caddy, Nginx, free_port
from snippets import HOST, TOKEN, only, replaced, seconds, snippets

ORIGIN = f"https://{HOST}"
LISTEN, ADMIN = "--listen=ws://127.0.0.1:0", "--admin=http://127.0.0.1:0"

# Two addresses of this machine, for two gateways with the same ports.
HOSTS = ("127.0.0.1", "127.0.0.2")

# What the document adds to the window and the graces of a shutdown.
REST = 5


@dataclasses.dataclass
class Certificate:
    crt: pathlib.Path
    key: pathlib.Path
    pem: pathlib.Path


@dataclasses.dataclass
class Tools:
    programs: dict
    libraries: list
    certificate: Certificate


def main(given):
    given = json.loads(given)
    texts = snippets()
    with tempfile.TemporaryDirectory(prefix="majordomo-") as place:
        place = pathlib.Path(place)
        tools = Tools(**given, certificate=certificate(place))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            jobs = [pool.submit(check_proxy, kind, tools, texts, place) for kind in PROXIES]
            for check in (settings, shutdown, probes, scraping, alerts, signals, exit_codes):
                check(tools, texts, place)
                report(f"ok: {check.__doc__}")
            systemd(tools, texts, place)
            for job in jobs:
                job.result()
    used = {kind.__name__.lower() for kind in PROXIES}
    used |= {f"{name}-several" for name in used}
    used |= {"settings", "systemd", "kubernetes", "prometheus", "alerts"}
    if used != texts.keys():
        raise AssertionError(f"blocks of the document that are not checked: {used ^ texts.keys()}")


def check_proxy(kind, tools, texts, place):
    for check in (timeouts, sessions, drain, several):
        name = kind.__name__
        check(kind, tools, texts, place / f"{name}-{check.__name__}")
        report(f"ok: {name}: {check.__doc__}")


def timeouts(kind, _tools, texts, _place):
    """the idle timeout is longer than the heartbeat timeout"""
    configuration = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    heartbeat = seconds(only(r"\| \[`--heartbeat-timeout`\]\(\S+\) \| `(\w+)` \|", configuration))
    text = texts[kind.__name__.lower()]
    if kind is Caddy:
        if "timeout" in text:
            raise AssertionError("Caddy needs no timeout, the document says")
        return
    names = ("proxy_read_timeout", "proxy_send_timeout") if kind is Nginx else ("timeout tunnel",)
    for name in names:
        idle = seconds(only(rf"\b{name} (\w+)", text))
        if idle <= heartbeat:
            raise AssertionError(f"{name} is {idle} s, and the heartbeat timeout {heartbeat} s")


def sessions(kind, tools, texts, place):
    """upgrade, messages, pings, Host, Origin, X-Forwarded-For and /health pass"""
    # Without --origin the page is admitted only if its host is the one in Host.
    flags = ("--mode=echo", "--session-id=header:X-Forwarded-For")
    with Gateway(tools.programs["gateway"], LISTEN, ADMIN, *flags) as gateway:
        with kind(tools, texts, place, *ports(gateway), HOSTS[:1]) as proxy:
            forged = {"X-Forwarded-For": "203.0.113.9"}
            with client(proxy, tools, origin=ORIGIN, headers=forged) as web:
                for message in ("text", b"\0binary\xff", "x" * 300_000):
                    web.send(message)
                    equal(web.receive(), message)
                web.ping()
                equal(ids(gateway), ["127.0.0.1"])
            equal(refused(proxy, tools, origin="https://example.com"), 403)
            status, body = get(f"https://{HOST}/health", tools, proxy)
            equal((status, json.loads(body)), (200, {"status": "ready"}))
            for path in ("/ready", "/metrics", "/api/stats"):
                status, _ = get(f"https://{HOST}{path}", tools, proxy)
                equal((path, status), (path, 426))


def drain(kind, tools, texts, place):
    """Host passes, and a drain closes with 1012 and refuses with 503"""
    flags = ("--session-id=header:Host", "--drain-window=1s", "--grace=1h", "--stop-code=1012")
    with Gateway(tools.programs["gateway"], LISTEN, ADMIN, *flags) as gateway:
        with kind(tools, texts, place, *ports(gateway), HOSTS[:1]) as proxy:
            with client(proxy, tools) as web, unanswering(gateway):
                equal(ids(gateway), [HOST, "direct"])
                gateway.stop()
                wait_for(gateway, "shutting down (SIGTERM): draining 2 sessions over 1s")
                equal(refused(proxy, tools), 503)
                learns_of_drain(proxy)
                equal(web.close_code(), 1012)
                equal(get(gateway.admin + "ready")[0], 503)
                equal(get(gateway.admin + "health")[0], 200)
                # The other session does not answer its close frame, and is cut off.
                gateway.stop()
                equal(gateway.wait(), 3)


def several(kind, tools, texts, place):
    """of two instances, the one that drains gets no new sessions"""
    with contextlib.ExitStack() as stack:
        first, second = map(stack.enter_context, pair(tools, "--mode=echo", "--drain-window=1h"))
        proxy = stack.enter_context(kind(tools, texts, place, *ports(first), HOSTS))
        for _ in range(4):
            stack.enter_context(client(proxy, tools))
        equal([len(ids(each)) for each in (first, second)], [2, 2])
        first.stop()
        wait_for(first, "shutting down")
        if kind is Caddy:
            # It learns of it by a health check, and notes the result after it has logged it: when
            # the next one is logged, the first one counts.
            learns_of_drain(proxy)
            learns_of_drain(proxy)
        web = stack.enter_context(client(proxy, tools))
        web.send("served")
        equal(web.receive(), "served")
        equal(len(ids(first)), 2)
        if kind is not Caddy:
            learns_of_drain(proxy)


def settings(tools, texts, place):
    """the settings file is valid"""
    text = replaced(texts["settings"], {"127.0.0.1:9001": "127.0.0.1:0", "127.0.0.1:9002": "127.0.0.1:0"})
    file = place / "majordomo.toml"
    file.write_text(text, encoding="utf-8")
    admin = tomllib.loads(text)["admin"]
    with Gateway(tools.programs["gateway"], f"--config={file}", f"--admin={admin}") as gateway:
        equal(get(gateway.admin + "ready")[0], 200)
        gateway.stop()
        equal(gateway.wait(), 0)


def shutdown(_tools, texts, _place):
    """service managers wait longer than a shutdown takes"""
    grace = 5
    window = seconds(tomllib.loads(texts["settings"])["drain-window"])
    waits = int(only(r"TimeoutStopSec=(\d+)\n", texts["systemd"]))
    at_least(waits, window + 2 * grace + REST)
    pod = yaml.safe_load(texts["kubernetes"])
    (window,) = (arg for arg in pod["containers"][0]["args"] if arg.startswith("--drain-window="))
    window = seconds(window.removeprefix("--drain-window="))
    at_least(pod["terminationGracePeriodSeconds"], window + 2 * grace + REST)


def probes(tools, texts, _place):
    """the probes of Kubernetes need neither a token nor a Host"""
    pod = yaml.safe_load(texts["kubernetes"])
    (container,) = pod["containers"]
    flags = [replaced(arg, {":9001": ":0"}) if "listen" in arg else arg for arg in container["args"]]
    flags = [replaced(arg, {":9002": ":0"}) if "admin" in arg else arg for arg in flags]
    program = tools.programs["gateway"]
    code, error = outcome(program, *flags)
    equal((code, "token" in error), (2, True))
    with Gateway(program, *flags, f"--admin-token={TOKEN}") as gateway:
        for kind in ("livenessProbe", "readinessProbe"):
            probe = container[kind]["httpGet"]
            equal(probe["port"], 9002)
            url = gateway.admin.replace("0.0.0.0", "127.0.0.1") + probe["path"].removeprefix("/")
            equal(get(url, headers={"Host": "10.0.0.11:9002"})[0], 200)
    with Gateway(program, LISTEN, ADMIN) as gateway:
        for path in ("health", "ready"):
            equal(get(gateway.admin + path, headers={"Host": HOST})[0], 200)


def scraping(tools, texts, place):
    """Prometheus' configuration is valid"""
    token = place / "token"
    token.write_text(TOKEN, encoding="utf-8")
    text = replaced(texts["prometheus"], {"/etc/prometheus/majordomo.token": token})
    promtool(tools, "config", place / "prometheus.yml", text)


def alerts(tools, texts, place):
    """the alerts are valid, and their metrics exist"""
    promtool(tools, "rules", place / "alerts.yml", texts["alerts"])
    with Gateway(tools.programs["gateway"], LISTEN, ADMIN) as gateway:
        metrics = get(gateway.admin + "metrics")[1]
    for group in yaml.safe_load(texts["alerts"])["groups"]:
        for rule in group["rules"]:
            names = [name for name in words(rule["expr"]) if name.startswith(("majordomo_", "process_"))]
            if not names:
                raise AssertionError(f"an alert without a metric: {rule}")
            for name in names:
                if f"\n{name}{{" not in metrics and f"\n{name} " not in metrics:
                    raise AssertionError(f"there is no metric {name}")
            for label in labels(rule["expr"]):
                if label not in metrics:
                    raise AssertionError(f"no metric has {label}")


def signals(tools, _texts, _place):
    """SIGTERM, SIGINT and SIGQUIT, twice, and the signals that do not stop do what the document says"""
    program, flags = tools.programs["gateway"], (LISTEN, "--grace=1h")
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        with Gateway(program, *flags) as gateway, unanswering(gateway):
            gateway.process.send_signal(one)
            wait_for(gateway, f"shutting down ({one.name}): 1 session has 1h to close")
            gateway.process.send_signal(signal.SIGINT)
            wait_for(gateway, "SIGINT again: exiting at once, 1 session is cut off")
            equal(gateway.wait(), 3)
    with Gateway(program, *flags) as gateway:
        for other in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            gateway.process.send_signal(other)
            wait_for(gateway, f"{other.name} ignored")
        gateway.stop()
        equal(gateway.wait(), 0)


def exit_codes(tools, _texts, _place):
    """the exit codes are 1 for a port in use and 2 for a bad flag, with one line"""
    program = tools.programs["gateway"]
    with Gateway(program, LISTEN) as gateway:
        for code, flag in ((1, f"--listen={gateway.urls[0]}"), (2, "--grace=long"), (2, "--config=/nowhere")):
            found, error = outcome(program, flag, "--admin=off")
            equal((found, error.count("\n")), (code, 1))


def systemd(tools, texts, place):
    program = shutil.which("systemd-analyze")
    if not program:
        report("left out: the unit: there is no systemd-analyze")
        return
    unit = place / "majordomo.service"
    path = {"/usr/local/bin/majordomo": tools.programs["gateway"]}
    unit.write_text(replaced(texts["systemd"], path), encoding="utf-8")
    done = subprocess.run([program, "verify", unit], capture_output=True, text=True, timeout=PATIENCE)
    # Other units of the machine are checked as well: only what concerns this one counts.
    found = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    equal(found, [])
    unit.write_text(texts["systemd"].replace("Restart=", "Restarts="), encoding="utf-8")
    done = subprocess.run([program, "verify", unit], capture_output=True, text=True, timeout=PATIENCE)
    if "Restarts" not in done.stdout + done.stderr:
        raise AssertionError("systemd-analyze does not notice an unknown key")
    report("ok: systemd-analyze finds no fault with the unit")


def certificate(place):
    """A certificate of its own for the document's host, and its key."""
    crt, key, pem = (place / f"host.{kind}" for kind in ("crt", "key", "pem"))
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-days", "2")
    command = ("openssl", "req", *kind, *names, "-keyout", key, "-out", crt)
    subprocess.run(command, check=True, capture_output=True)
    pem.write_bytes(crt.read_bytes() + key.read_bytes())
    return Certificate(crt, key, pem)


def pair(tools, *flags):
    """Two gateways with the same ports, on two addresses of this machine."""
    for _ in range(10):
        gateway, admin = free_port(), free_port()
        gateways = []
        try:
            for host in HOSTS:
                listen = f"--listen=ws://{host}:{gateway}"
                admins = (f"--admin=http://{host}:{admin}", f"--admin-token={TOKEN}")
                gateways.append(Gateway(tools.programs["gateway"], listen, *admins, *flags))
            return gateways
        except RuntimeError:
            # Another process has taken a port.
            for each in gateways:
                each.__exit__()
    raise RuntimeError("no two addresses have the same free ports")


def ports(gateway):
    """The ports of a gateway and of its admin server."""
    return tuple(int(only(r":(\d+)", url.removeprefix("http:"))) for url in (gateway.urls[0], gateway.admin))


def refused(proxy, tools, **options):
    """The status with which an upgrade is refused."""
    return refusal(proxy.port, tools.certificate.crt, **options)


def learns_of_drain(proxy):
    """The first health check that fails is answered 503: those before it were answered 200."""
    if proxy.unhealthy:
        line = proxy.next_line(proxy.unhealthy) or ""
        if "503" not in line:
            raise AssertionError(f"not a health check that was answered 503: {line}")


def client(proxy, tools, **options):
    return Client(proxy.port, tools.certificate.crt, **options)


@contextlib.contextmanager
def unanswering(gateway):
    """A session without a proxy that never answers a close frame."""
    port = int(only(r":(\d+)", gateway.urls[0]))
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as stream:
        head = "GET / HTTP/1.1\r\nHost: direct\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        stream.sendall((head + key).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            if not (byte := stream.recv(1)):
                raise AssertionError(f"the answer ends within its head: {answer}")
            answer += byte
        equal(answer.split()[1], b"101")
        yield


def ids(gateway):
    """The ids of the sessions, in order."""
    status, body = get(gateway.admin + "api/sessions", headers={"Authorization": f"Bearer {TOKEN}"})
    equal(status, 200)
    return [session["id"] for session in json.loads(body)["sessions"]]


def get(url, tools=None, proxy=None, headers={}):
    """The status and the body of an answer, from a proxy if one is given."""
    request = urllib.request.Request(url, headers=headers)
    context = None
    if proxy:
        request.add_unredirected_header("Host", HOST)
        request.full_url = url.replace(HOST, f"127.0.0.1:{proxy.port}", 1)
        context = NamedContext.of(tools)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class NamedContext(ssl.SSLContext):
    """Connects to an address, and checks the document's host there."""

    @classmethod
    def of(cls, tools):
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(tools.certificate.crt)
        return context

    def wrap_socket(self, *given, server_hostname=None, **options):
        return super().wrap_socket(*given, server_hostname=HOST, **options)


def wait_for(gateway, text):
    """Reads the log up to a line with this text."""
    while text not in (line := gateway.log.next() or sys.exit(f"no {text!r}:\n{gateway.log.tail()}")):
        pass


def outcome(program, *flags):
    """The exit code and the error of a gateway that does not start."""
    done = subprocess.run(
        [program, *flags], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.returncode, done.stderr


def promtool(tools, what, file, text):
    file.write_text(text, encoding="utf-8")
    command = [tools.programs["promtool"], "check", what, file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)


def words(expression):
    return "".join(c if c.isalnum() or c == "_" else " " for c in expression).split()


def labels(expression):
    """What selects metrics by values that the gateway gives."""
    selectors = [part.split("}")[0] for part in expression.split("{")[1:]]
    return [label for label in selectors if not label.startswith("job=")]


def report(line):
    # Several threads write: a line is one write.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r} is not {expected!r}")


def at_least(found, least):
    if found < least:
        raise AssertionError(f"{found} s are less than {least} s")


if __name__ == "__main__":
    main(sys.argv[1])
