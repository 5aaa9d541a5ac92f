"""Installs the clients and proxies of other projects, each from its registry, and returns how each is
started."""
import os
import pathlib
import shutil
import subprocess
import sys

from gateway import TARGET, build

HERE = pathlib.Path(__file__).resolve().parent
PLACE = TARGET / "clients"

# The interpreter of the virtual environment with the clients from PyPI.
PYTHON = PLACE / "python" / "bin" / "python"

# Where the packages of npm are.
NODE_MODULES = PLACE / "node" / "node_modules"

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
BROWSER_PACKAGES = ("chromium", "chromium-driver")


class Unavailable(Exception):
    """A client that cannot be installed here, and why."""


def pypi():
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", PLACE / "python")
    run(PYTHON, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt")
    return [PYTHON, HERE / "with_websockets.py"], [PYTHON, HERE / "with_aiohttp.py"]


def npm():
    place = NODE_MODULES.parent
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", place)
    run("npm", "install", "--prefix", place, "--no-audit", "--no-fund", "--loglevel=error")
    command = ["env", f"NODE_PATH={NODE_MODULES}", "node", HERE / "with_ws.js"]
    return (command,)


def chromium():
    browser, driver = find_chromium()
    if not (browser and driver):
        install_chromium()
        browser, driver = find_chromium()
    if not (browser and driver):
        raise Unavailable(f"no browser ({', '.join(BROWSERS)}) with its chromedriver on the path")
    return ([sys.executable, HERE / "with_chromium.py", browser, driver],)


def promtool():
    """Prometheus' own checker. Its package is unpacked only: installed, it would start a server."""
    if found := shutil.which("promtool"):
        return found
    program = PLACE / "prometheus" / "usr" / "bin" / "promtool"
    if not program.exists():
        if not shutil.which("apt-get"):
            raise Unavailable("promtool is not installed, and there is no apt-get")
        part = PLACE / "prometheus.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        package = download("prometheus", part)
        run("dpkg-deb", "--extract", package, part)
        package.unlink()
        part.rename(PLACE / "prometheus")
    return program


def download(package, place):
    """The file of a Debian package."""
    get = ("env", "-C", place, "apt-get", "download", "--quiet", package)
    try:
        run(*get)
    except Unavailable:
        if os.geteuid() != 0:
            raise
        run("apt-get", "update", "--quiet")
        run(*get)
    (file,) = place.glob("*.deb")
    return file


def cargo():
    return (build("--example", "with_tungstenite"),)


def programs(*names):
    """The paths of programs that have the names of their Debian packages, and the directories of
    the libraries that they need.

    What is not installed is downloaded and unpacked under target/clients, without root. An installed
    package would start a server.
    """
    place = PLACE / "-".join(names)
    path = os.pathsep.join(map(str, ["/usr/sbin", place / "usr/sbin", place / "usr/bin"]))
    path = os.pathsep.join([os.environ["PATH"], path])
    found = {name: shutil.which(name, path=path) for name in names}
    if missing := [name for name in names if not found[name]]:
        if not shutil.which("apt-get"):
            raise Unavailable(f"{' '.join(missing)}: not installed, and there is no apt-get")
        unpack(missing, place)
        found = {name: shutil.which(name, path=path) for name in names}
    if missing := [name for name in names if not found[name]]:
        raise Unavailable(f"the packages have no program {' '.join(missing)}")
    return found, [directory for directory in place.glob("usr/lib/*-linux-gnu*")]


def unpack(packages, place):
    """Unpacks Debian packages, and the packages that they need and that are not installed."""
    part = place.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "archives" / "partial").mkdir(parents=True)
    options = ("-o", f"Dir::Cache::archives={part / 'archives'}", "-o", "Debug::NoLocking=true")
    options = (*options, "--yes", "--quiet", "--no-install-recommends", "--download-only")
    get = ("apt-get", "install", *options, *packages)
    try:
        run(*get)
    except Unavailable:
        if os.geteuid() != 0:
            raise
        run("apt-get", "update", "--quiet")
        run(*get)
    for archive in (part / "archives").glob("*.deb"):
        run("dpkg-deb", "--extract", archive, part)
    shutil.rmtree(part / "archives")
    shutil.rmtree(place, ignore_errors=True)
    part.rename(place)


PYPI = "websockets, aiohttp and schemathesis, from PyPI"
NPM = "ws, from npm"
CHROMIUM = "Chromium"

# The installers of the clients. Each returns the commands that start them.
CLIENTS = {
    PYPI: pypi,
    NPM: npm,
    CHROMIUM: chromium,
    "tungstenite": cargo,
}


def find_chromium():
    browsers = filter(None, map(shutil.which, BROWSERS))
    return next(browsers, None), shutil.which("chromedriver")


def install_chromium():
    packages = " ".join(BROWSER_PACKAGES)
    if not shutil.which("apt-get"):
        raise Unavailable("Chromium and chromedriver are not installed, and there is no apt-get")
    if os.geteuid() != 0:
        raise Unavailable(f"not installed; as root: apt-get install {packages}")
    run("apt-get", "update", "--quiet")
    run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *BROWSER_PACKAGES)


def run(*command):
    """Runs a command, and shows its output only if it fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        done = subprocess.run(command, env=environment, encoding="utf-8", errors="replace", **pipes)
    except FileNotFoundError as error:
        raise Unavailable(f"there is no {error.filename}") from None
    if done.returncode:
        words = " ".join(map(str, command))
        raise Unavailable(f"{words} failed with {done.returncode}:\n{done.stdout.strip()}")
