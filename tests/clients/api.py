"""The HTTP API against its own description, by a tool that this project did not write.

usage: tests/clients/api.py PROGRAM

Needs the `schemathesis` and `websockets` packages. PROGRAM is the gateway. Takes about a minute, and
exits with 0 when all of it holds.
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

# Every client here comes back as soon as it is closed, so that what was deleted is there again.
COMES_BACK = "use_after_free"


# What it makes up without any luck is more than this, for each of the scenarios.
LEAST = 25


class Admin(Gateway):
    """A gateway with an admin plane that has a token, and clients that choose their ids."""

    def __init__(self, program):
        flags = ["--listen=ws://127.0.0.1:0", "--session-id=query:id"]
        super().__init__(program, *flags, "--admin=http://127.0.0.1:0", f"--admin-token={TOKEN}")

    def ask(self, path, body=None):
        """A request, with a body or without; gives what it is answered."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.admin + path, headers=headers, data=body)
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)

    async def check(self, *options, parameters=()):
        """Lets schemathesis make up requests, and hold the answers to the description. Gives their
        number."""
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
        same(count >= LEAST, True, f"{count} requests are enough, of those that were made up")
        return count


async def stays(url):
    """A client that connects again whenever it is closed, and reads what it is told."""
    while True:
        with contextlib.suppress(OSError, websockets.WebSocketException):
            async with websockets.connect(url, max_size=None) as client:
                async for _ in client:
                    pass


async def of_anybody(program):
    """The API does as its description says, whatever is asked of it."""
    options = ["--exclude-path=/api/stop", "--max-examples=40", "--seed=1"]
    with Admin(program) as gateway:
        count = await gateway.check(*options)
        same(gateway.ask("api/stats")[1]["phase"], "running", "the phase")
    return count


async def of_somebody(program):
    """So it does for a session that is there, and that comes back when it is closed."""
    with Admin(program) as gateway:
        client = asyncio.create_task(stays(gateway.urls[0] + "/?id=a"))
        options = ["--include-path-regex=/api/sessions/.id.", "--max-examples=40", "--seed=2"]
        options += [f"--exclude-checks={COMES_BACK}"]
        count = await gateway.check(*options, parameters=[("path.id", "a")])
        stats = gateway.ask("api/stats")[1]
        client.cancel()
        # That is, the requests reached it.
        for reached in (stats["sent"]["messages"], stats["disconnects"]["removed"]):
            same(reached > 10, True, f"it was spoken to, and closed, often: {stats}")
    return count


async def of_the_stop(program):
    """A stop refuses what it should, and stops with what it should not."""
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
    for scenario in (of_anybody, of_somebody, of_the_stop):
        count = await scenario(program)
        print(f"ok: {scenario.__doc__} ({count} requests)", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
