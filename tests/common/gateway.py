"""The release gateway as a process, for tests with clients that this project did not write."""
import collections
import json
import os
import pathlib
import queue
import re
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"

# Seconds. A safety net: nothing here takes that long unless it hangs.
PATIENCE = 60


def build(*what):
    """Builds, and returns the paths of the executables."""
    command = ["cargo", "build", *what, "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("it does not build")
    messages = map(json.loads, done.stdout.splitlines())
    return [found for message in messages if (found := message.get("executable"))]


class Lines:
    """Lines that a thread reads, so that the writer never blocks and a wait has a timeout."""

    def __init__(self, stream):
        self._queue = queue.SimpleQueue()
        self._last = collections.deque(maxlen=20)
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        with stream:
            for line in stream:
                self._last.append(line)
                self._queue.put(line)
        self._queue.put(None)

    def next(self):
        """The next line; none at the end."""
        try:
            line = self._queue.get(timeout=PATIENCE)
        except queue.Empty:
            raise TimeoutError(f"no line within {PATIENCE} s; the last ones: {self.tail()}") from None
        if line is None:
            self._queue.put(None)
        return line

    def tail(self):
        """The last lines."""
        return "".join(line[:200].rstrip("\n") + "\n" for line in self._last)


class Gateway:
    """A gateway that runs, until the `with` block ends."""

    def __init__(self, program, *flags, stdio=False):
        flags += ("--stdio",) if stdio else ()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAJORDOMO")}
        # Many run at once, and one port is the default. A flag wins.
        environment["MAJORDOMO_ADMIN"] = "off"
        self.process = subprocess.Popen(
            [program, *flags],
            env=environment,
            stdin=subprocess.PIPE if stdio else subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdio else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.log = Lines(self.process.stderr)
        self.events = Lines(self.process.stdout) if stdio else None
        self.urls, self.admin = [], None
        while (line := self.log.next()) and "open file limit" not in line:
            if found := re.search(r" listening on (\S+)", line):
                self.urls.append(found[1])
            elif found := re.search(r" console on (\S+)", line):
                self.admin = found[1]
        if line is None:
            raise RuntimeError(f"the gateway did not start:\n{self.log.tail()}")

    def event(self, name):
        """The next event, which has to have this name."""
        while (event := json.loads(self.events.next() or "null")) and event["event"] == "state":
            pass  # Whether a session is active does not matter here.
        if not event or event["event"] != name:
            raise AssertionError(f"{event} where {name} was expected")
        return event

    def send(self, **command):
        """Sends a command."""
        print(json.dumps(command), file=self.process.stdin, flush=True)

    def stop(self):
        """Sends SIGTERM; `wait` returns the exit code."""
        self.process.terminate()

    def wait(self):
        """Its exit code."""
        return self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
