"""Proxies as processes, with the snippets of the document."""
import os
import signal
import socket
import subprocess
import time

from gateway import PATIENCE, Lines
from snippets import ADMIN, GATEWAY, HOST, SEVERAL, replaced, with_section

# How often to start a proxy whose port another process has taken meanwhile.
ATTEMPTS = 3


class Proxy:
    """A proxy that runs, until the `with` block ends.

    `gateway` and `admin` are ports, the same ones on each of `hosts`.
    """

    # What the log has when connections are accepted.
    started = None

    # What the log has when a health check has failed. None for nginx, which has no health checks.
    unhealthy = None

    def __init__(self, tools, snippets, place, gateway, admin, hosts):
        self.tools, self.snippets, self.place, self.hosts = tools, snippets, place, hosts
        self.gateway, self.admin = gateway, admin
        place.mkdir(parents=True)
        for attempt in range(ATTEMPTS):
            self.port = free_port()
            self.file = place / f"{self.name}.conf"
            self.file.write_text(self.whole(self.configuration()), encoding="utf-8")
            self.start()
            if self.next_line(self.started):
                return
            self.stop()
        raise RuntimeError(f"{self.name} did not start:\n{self.log.tail()}")

    @property
    def name(self):
        return type(self).__name__.lower()

    def start(self):
        environment = {**os.environ, "HOME": str(self.place), "XDG_DATA_HOME": str(self.place)}
        environment["XDG_CONFIG_HOME"] = str(self.place)
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(self.tools.libraries)
        self.process = subprocess.Popen(
            self.command(self.tools.programs[self.name]),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            # It has workers, which are to end with it.
            start_new_session=True,
        )
        self.log = Lines(self.process.stderr)

    def configuration(self):
        """The snippet, with this machine's ports, addresses and files."""
        text = self.snippets[self.name]
        ports = {":9001": f":{self.gateway}"}
        if self.has_several():
            several = self.snippets[f"{self.name}-several"]
            text = with_section(text, self.section, several.rstrip("\n"))
            ports |= dict(zip(SEVERAL, self.hosts))
        else:
            ports = {GATEWAY: f"{self.hosts[0]}:{self.gateway}"}
        ports |= {ADMIN: f"{self.hosts[0]}:{self.admin}"}
        if "port 9002" in text:
            ports |= {"port 9002": f"port {self.admin}"}
        return replaced(text, {**ports, **self.files()})

    def next_line(self, text):
        """The next line of the log with this text; none at its end."""
        deadline = time.monotonic() + PATIENCE
        while (line := self.log.next()) and text not in line:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not logged {text!r}:\n{self.log.tail()}")
        return line

    def has_several(self):
        return len(self.hosts) > 1

    def whole(self, configuration):
        """The file that has the snippet."""
        return configuration

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Nginx(Proxy):
    started = "start worker process "
    section = r"^upstream majordomo \{.*?^\}$"

    def files(self):
        certificate = self.tools.certificate
        return {
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            f"/etc/ssl/{HOST}.crt": certificate.crt,
            f"/etc/ssl/{HOST}.key": certificate.key,
        }

    def whole(self, configuration):
        paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "\n".join(f"{kind}_temp_path {self.place / kind};" for kind in paths)
        user = "user root;" if os.geteuid() == 0 else ""
        return (
            f"daemon off; {user} worker_processes 1; pid {self.place / 'pid'};\n"
            f"error_log stderr notice;\nevents {{ worker_connections 256; }}\n"
            f"http {{\naccess_log off;\n{paths}\n{configuration}}}\n"
        )

    def command(self, program):
        return [program, "-e", "stderr", "-p", self.place, "-c", self.file]


class Haproxy(Proxy):
    started = "Loading success"
    unhealthy = " is DOWN, "
    section = r"^backend majordomo\n.*?(?=\n\n)"

    def files(self):
        certificate = self.tools.certificate
        return {
            "bind :443": f"bind 127.0.0.1:{self.port}",
            f"/etc/ssl/{HOST}.pem": certificate.pem,
        }

    def command(self, program):
        # The process that watches the worker says when it has loaded.
        return [program, "-W", "-db", "-f", self.file]


class Caddy(Proxy):
    started = "serving initial configuration"
    unhealthy = '"status_code":'
    section = rf"^\t\treverse_proxy {GATEWAY} \{{.*?^\t\t\}}$"

    def files(self):
        certificate = self.tools.certificate
        tls = f"\ttls {certificate.crt} {certificate.key}"
        return {f"{HOST} {{": f"{HOST}:{self.port} {{\n{tls}"}

    def whole(self, configuration):
        options = "admin off\nauto_https disable_redirects\nskip_install_trust\n"
        return f"{{\n{options}default_bind 127.0.0.1\n}}\n{configuration}"

    def command(self, program):
        return [program, "run", "--adapter", "caddyfile", "--config", self.file]


PROXIES = (Nginx, Haproxy, Caddy)


def free_port():
    """A port that the system chooses. Another process may take it before it is used."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
