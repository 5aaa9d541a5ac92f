"""The HTTP API against its own description, by a tool of another project.

usage: tests/clients/api.py PROGRAM

Needs the `schemathesis` and `websockets` packages. PROGRAM is the gateway. Takes about a minute.
Exits with 0 if every check passes.
"""
import asyncio
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

import websockets

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))
from gateway import Gateway

TOKEN = "a-token-of-some-length"

# The clients here reconnect as soon as they are closed, so a deleted session exists again.
USE_AFTER_FREE = "use_after_free"


# The fewest requests that a scenario must generate.
LEAST = 25


class Admin(Gateway):
    """A gateway with an admin server that needs a token, and clients that choose their ids."""

    def __init__(self, program):
        flags = ["--listen=ws://127.0.0.1:0", "--session-id=query:id"]
        super().__init__(program, *flags, "--admin=http://127.0.0.1:0", f"--admin-token={TOKEN}")

    def ask(self, path, body=None):
        """Sends a request, with a body or without; returns the answer."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.admin + path, headers=headers, data=body)
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)

    async def check(self, *options, parameters=()):
        """Lets schemathesis generate requests, and check the answers against the description. Returns
        the number of requests."""
        with tempfile.TemporaryDirectory() as place:
            config = pathlib.Path(place) / "schemathesis.toml"
            lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in parameters]
            config.write_text("\n".join(["[parameters]", *lines, ""]))
            command = [pathlib.Path(sys.executable).with_name("schemathesis")]
            command += ["--config-file", config, "run", self.admin + "api/openapi.json"]
            command += ["--header", f"Authorization: Bearer {TOKEN}", "--warnings=off"]
            command += ["--checks=all", "--continue-on-failure", *options]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = await asyncio.create_subprocess_exec(*command, cwd=place, **pipes)
            output, _ = await process.communicate()
        if process.returncode:
            sys.exit(f"{output.decode()}\nschemathesis ended with {process.returncode}")
        count = int(re.search(rb"(\d+) generated|$", output)[1] or 0)
        same(count >= LEAST, True, f"{count} generated requests are enough")
        return count


async def stays(url):
    """A client that connects again whenever it is closed, and reads its messages."""
    while True:
        with contextlib.suppress(OSError, websockets.WebSocketException):
            async with websockets.connect(url, max_size=None) as client:
                async for _ in client:
                    pass


async def any_request(program):
    """The API answers any request as its description says."""
    options = ["--exclude-path=/api/stop", "--max-examples=40", "--seed=1"]
    with Admin(program) as gateway:
        count = await gateway.check(*options)
        same(gateway.ask("api/stats")[1]["phase"], "running", "the phase")
    return count


async def of_one_session(program):
    """It does so for a session that exists, and whose client reconnects when it is closed."""
    with Admin(program) as gateway:
        client = asyncio.create_task(stays(gateway.urls[0] + "/?id=a"))
        options = ["--include-path-regex=/api/sessions/.id.", "--max-examples=40", "--seed=2"]
        options += [f"--exclude-checks={USE_AFTER_FREE}"]
        count = await gateway.check(*options, parameters=[("path.id", "a")])
        stats = gateway.ask("api/stats")[1]
        client.cancel()
        # The requests reached the session.
        for reached in (stats["sent"]["messages"], stats["disconnects"]["removed"]):
            same(reached > 10, True, f"it was sent to, and closed, often: {stats}")
    return count


async def of_stop(program):
    """An invalid stop is refused, and a valid one stops the gateway."""
    options = ["--include-path=/api/stop", "--max-examples=40", "--seed=3"]
    options += ["--mode=negative", "--phases=coverage,fuzzing"]
    with Admin(program) as gateway:
        count = await gateway.check(*options)
        same(gateway.ask("api/stats")[1]["phase"], "running", "the phase")
        description = gateway.ask("api/openapi.json")[1]
    content = description["paths"]["/api/stop"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"].values()
    for body in [b"", b"{}", *(json.dumps(example["value"]).encode() for example in examples)]:
        with Admin(program) as gateway:
            same(gateway.ask("api/stop", body), (202, {}), f"the answer to {body}")
            same(gateway.wait(), 0, "the exit code")
    return count


def same(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {found}, not {wanted}")


async def main(program):
    for scenario in (any_request, of_one_session, of_stop):
        count = await scenario(program)
        print(f"ok: {scenario.__doc__} ({count} requests)", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
