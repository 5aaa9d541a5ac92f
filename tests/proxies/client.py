"""A WebSocket client of `websockets`, through a proxy, whose calls all have a timeout.

Its own client for threads is no choice: over TLS it may wait forever after a refused upgrade.
"""
import asyncio
import ssl
import threading

from gateway import PATIENCE
from snippets import HOST
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def run(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(PATIENCE)


class Client:
    """Connects to the port of a proxy as the document's host, and disconnects at the end of the
    `with` block."""

    def __init__(self, port, certificate, origin=None, headers=None):
        context = ssl.create_default_context(cafile=certificate)
        self.socket = run(open_socket(port, ssl=context, origin=origin, additional_headers=headers))

    def send(self, message):
        run(self.socket.send(message))

    def receive(self):
        return run(self.socket.recv())

    def ping(self):
        """Returns when the pong has come."""
        run(ping(self.socket))

    def close_code(self):
        """The code of the close frame that ends the connection."""
        try:
            while True:
                self.receive()
        except ConnectionClosed as closed:
            return closed.rcvd and closed.rcvd.code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run(self.socket.close())


def refusal(*arguments, **options):
    """The status with which an upgrade is refused."""
    try:
        with Client(*arguments, **options):
            raise AssertionError("the upgrade was not refused")
    except InvalidStatus as refused:
        return refused.response.status_code


async def open_socket(port, **options):
    address = {"host": "127.0.0.1", "port": port, "server_hostname": HOST, "proxy": None}
    return await connect(f"wss://{HOST}/", **address, **options)


async def ping(socket):
    await (await socket.ping())
