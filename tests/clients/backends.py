"""Two backends in two languages share one gateway; one is killed and reconnects.

    python3 tests/clients/backends.py GATEWAY PYTHON NODE_PATH

The backends are examples/backend.py and examples/backend.js; they check
the numbers of events, and this checks their answers. Exits with 0 if all of it holds.
"""
import asyncio
import json
import os
import pathlib
import subprocess
import sys

import websockets

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "common"))

from gateway import Gateway, Lines  # noqa: E402

TOKEN = "a-token-for-the-backends"
ROUNDS = 200


class Backend:
    """A running backend and its output."""

    def __init__(self, *command, **environment):
        environment = {**os.environ, **environment, "MAJORDOMO_ADMIN_TOKEN": TOKEN}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self.output = Lines(self.process.stdout)

    def connected(self):
        """The epoch of its gateway, and the sessions that it found."""
        epoch = self.expect(" connected to ")
        return epoch, json.loads(self.expect(" found "))

    def expect(self, what):
        line = self.output.next()
        assert line and what in line, f"{line!r}, where {what!r} should come"
        return line.split(what)[1].strip()

    def kill(self):
        self.process.kill()
        self.process.wait()


async def ask(client, name, number, there):
    """Sends a message to a backend, and checks its answer."""
    sent = f"{name} {number}"
    await client.send(sent)
    answer = await asyncio.wait_for(client.recv(), 60)
    assert answer == f"{name} received '{sent}', and knows {there} sessions", answer


async def scenario(gateway, start):
    url = gateway.urls[0]
    anna = await websockets.connect(f"{url}/?id=anna")
    backends = {name: begin() for name, begin in start.items()}
    epochs = set()
    for backend in backends.values():
        epoch, found = backend.connected()
        epochs.add(epoch)
        assert found == ["anna"], found
    bert = await websockets.connect(f"{url}/?id=bert")
    for number in range(ROUNDS):
        for name in backends:
            await asyncio.gather(ask(anna, name, number, 2), ask(bert, name, number, 2))
    for gone, stays in (("node", "python"), ("python", "node")):
        backends[gone].kill()
        for number in range(ROUNDS):
            await ask(anna, stays, number, 2)
        await bert.close()
        backends[gone] = start[gone]()
        epoch, found = backends[gone].connected()
        epochs.add(epoch)
        assert found == ["anna"], f"{gone} found {found}"
        for name in backends:
            await ask(anna, name, "again", 1)
        bert = await websockets.connect(f"{url}/?id=bert")
        await ask(bert, gone, "hello", 2)
        await ask(bert, stays, "hello", 2)
    assert len(epochs) == 1, f"one gateway has one epoch, not {epochs}"
    for name, backend in backends.items():
        assert backend.process.poll() is None, f"{name} has ended"
        backend.kill()
    await anna.close()
    await bert.close()


def main(program, python, node_path):
    flags = ("--listen=ws://127.0.0.1:0", "--admin=http://127.0.0.1:0", f"--admin-token={TOKEN}")
    with Gateway(program, *flags, "--mode=backend", "--session-id=query:id") as gateway:
        control = gateway.admin.replace("http://", "ws://") + "control"
        examples = ROOT / "examples"
        start = {
            "python": lambda: Backend(python, examples / "backend.py", "python", control),
            "node": lambda: Backend(
                "node", examples / "backend.js", "node", control, NODE_PATH=node_path
            ),
        }
        asyncio.run(scenario(gateway, start))
    print("ok: " + __doc__.partition("\n")[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
