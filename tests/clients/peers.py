"""The clients of a hub: those of other projects for WebSocket, and raw TCP ones."""
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import urllib.parse

from answering import pack
from gateway import PATIENCE, Lines


class Web:
    """A client of another project, in a process that is controlled as `answering` describes."""

    framing = None

    def __init__(self, command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        # Some start child processes, which are to be ended with them.
        self.process = subprocess.Popen(command, start_new_session=True, **pipes)
        self.answers = Lines(self.process.stdout)
        greeting = self.answer()
        self.name, self.can = greeting["client"], greeting["can"]
        self.origin = greeting.get("origin")

    def connect(self, url):
        self.ask(do="connect", url=url)

    def send(self, message):
        self.ask(do="send", message=pack(message))

    def send_in_pieces(self, message, cuts):
        self.ask(do="fragments", message=pack(message), cuts=cuts)

    def ping(self, text):
        return self.ask(do="ping", text=text)["pong"]

    def begin_receive(self):
        """Begins to wait for a message, which `received` returns."""
        self.request(do="receive")

    def received(self):
        return self.answer()

    def close(self, code, reason):
        """Closes, without a code if that is None, and returns the server's code."""
        return self.ask(do="close", code=code, reason=reason)["closed"][0]

    def as_received(self, message):
        """The message as this client receives it."""
        return {"message": pack(message)}

    def as_sent(self, message):
        """The message as others receive it; None if this client cannot send it."""
        return message

    def ask(self, **fields):
        self.request(**fields)
        return self.answer()

    def request(self, **fields):
        print(json.dumps(fields), file=self.process.stdin, flush=True)

    def answer(self):
        line = self.answers.next()
        if line is None:
            raise RuntimeError(f"{self} ended with {self.process.wait(PATIENCE)}")
        answer = json.loads(line)
        if why := answer.get("failed"):
            raise Refused(f"{self}: {why}")
        return answer

    def __str__(self):
        return getattr(self, "name", "a client")

    def leave(self):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Refused(Exception):
    """A client that could not carry out a request."""


class Mute:
    """Asks for an upgrade, and sends nothing after that."""

    def connect(self, url):
        self.socket = dial(url)
        head = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        self.socket.sendall((head + key).encode())

    def leave(self):
        self.socket.close()

    def __str__(self):
        return "the mute client"


class Raw:
    """A raw TCP client."""

    can = ()

    def connect(self, url):
        self.socket = dial(url)
        self.stream = self.socket.makefile("rb")

    def send(self, message):
        self.socket.sendall(self.frame(message))

    def begin_receive(self):
        pass

    def close(self, code, reason):
        self.leave()

    def leave(self):
        self.stream.close()
        self.socket.close()

    def __str__(self):
        return self.name


class RawLines(Raw):
    """Each message is a line: text if it is UTF-8, else binary."""

    name = "raw TCP, lines"
    framing = "lines"

    def frame(self, message):
        return as_bytes(message) + b"\n"

    def received(self):
        line = self.stream.readline()
        return {"line": line[:-1]} if line.endswith(b"\n") else {"end": line}

    def as_received(self, message):
        return {"line": as_bytes(message)} if is_line(message) else None

    def as_sent(self, message):
        if not is_line(message):
            return None
        try:
            return as_bytes(message).decode()
        except UnicodeDecodeError:
            return message


class RawLengths(Raw):
    """Each message follows its length, and is binary."""

    name = "raw TCP, lengths"
    framing = "u32"

    def frame(self, message):
        payload = as_bytes(message)
        return struct.pack("!I", len(payload)) + payload

    def received(self):
        head = self.stream.read(4)
        if len(head) < 4:
            return {"end": head}
        return {"payload": self.stream.read(*struct.unpack("!I", head))}

    def as_received(self, message):
        return {"payload": as_bytes(message)}

    def as_sent(self, message):
        return as_bytes(message)


def dial(url):
    url = urllib.parse.urlsplit(url)
    return socket.create_connection((url.hostname, url.port), PATIENCE)


def as_bytes(message):
    return message.encode() if isinstance(message, str) else message


def is_line(message):
    """Whether lines can carry it: the gateway refuses a message that a receiver would misread."""
    payload = as_bytes(message)
    return b"\n" not in payload and not payload.endswith(b"\r")
