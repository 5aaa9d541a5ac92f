"""The protocol by which the tests control a client of another project: each request is one line with
a JSON object, answered by one line, in order. A message M is `{"text": "…"}` or `{"binary": "base64"}`.

    {"do": "connect", "url": "ws://…"}              {"done": true}
    {"do": "send", "message": M}                    {"done": true}
    {"do": "fragments", "message": M, "cuts": [3]}  {"done": true}, each fragment ends at a cut
    {"do": "receive"}                               {"message": M} or {"closed": [code, "reason"]}
    {"do": "ping", "text": "…"}                     {"pong": "…"}, the payload of the pong
    {"do": "close", "code": 4000, "reason": "…"}    {"closed": [code, "reason"]}, the server's;
                                                    the code to close with may be null

A failure is answered `{"failed": "why"}`. The first line of output, without a request, is `{"client": "name version",
"can": ["fragments", "ping"]}`, with those of the two that the client supports. A client opens one
connection after another, and exits at the end of its input.
"""
import asyncio
import base64
import json
import sys


def pack(message):
    """A text or bytes as JSON."""
    if isinstance(message, str):
        return {"text": message}
    return {"binary": base64.b64encode(message).decode()}


def unpack(packed):
    """The text or bytes of a message in JSON."""
    if "text" in packed:
        return packed["text"]
    return base64.b64decode(packed["binary"], validate=True)


def pieces(message, cuts):
    """The bytes of a message, split at the cuts."""
    payload = message.encode() if isinstance(message, str) else message
    return [payload[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(payload)])]


def reply(line):
    print(json.dumps(line), flush=True)


async def serve(greeting, answer):
    """Answers requests until the input ends."""
    reply(greeting)
    # Other tasks, such as the one that answers pings, run while it waits for a request.
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            reply(await answer(json.loads(line)))
        except Exception as error:
            reply({"failed": repr(error)})
