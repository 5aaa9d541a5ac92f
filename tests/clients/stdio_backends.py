"""Backends over stdio, with a client of another project.

Needs the `websockets` package and a release build of the gateway. Exits with 0 if every check passes.
"""
import asyncio
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

import websockets

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds; a safety net, nothing here takes that long unless it hangs


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def connect(url):
    """Connects as soon as the port is open."""
    while True:
        try:
            return await websockets.connect(url)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


async def readme_backend():
    """The README's backend works as it is, apart from its port."""
    text = (ROOT / "README.md").read_text()
    script = re.search(r"```python\n(.*?)```", text, re.S)[1]
    port = free_port()
    assert "ws://127.0.0.1:9001" in script
    script = script.replace(":9001", f":{port}")
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(script)
        file.flush()
        backend = subprocess.Popen([sys.executable, file.name], cwd=ROOT)
        client = await connect(f"ws://127.0.0.1:{port}")
        await client.send("hello")
        assert await client.recv() == "echo: hello"
        backend.kill()  # the end of its commands stops the gateway
        await client.wait_closed()
        assert client.close_code == 1001, client.close_code
        backend.wait()


async def echoing_backend(clients=50, messages=2000, window=20):
    """examples/backend_stdio.py echoes 100,000 messages in order and misses no event."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    backend = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "backend_stdio.py", "--listen", url, "--log", "error"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    async def talk(number):
        client = await connect(url)
        for sent in range(messages + window):
            if sent < messages:
                await client.send(f"{number}:{sent}")
            if sent >= window:
                assert await client.recv() == f"{number}:{sent - window}"
        await client.close()

    await asyncio.gather(*(talk(number) for number in range(clients)))
    os.killpg(backend.pid, signal.SIGINT)  # as a terminal does: to the backend and its gateway
    assert backend.wait() == 0


async def main():
    for scenario in (readme_backend, echoing_backend):
        await asyncio.wait_for(scenario(), PATIENCE)
        print("ok:", scenario.__doc__)


asyncio.run(main())
