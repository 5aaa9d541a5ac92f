"""How a client of other people's making is told what to do: a JSON object a line, each answered by
one line, in order. A message M is `{"text": "…"}` or `{"binary": "base64"}`.

    {"do": "connect", "url": "ws://…"}              {"done": true}
    {"do": "send", "message": M}                    {"done": true}
    {"do": "fragments", "message": M, "cuts": [3]}  {"done": true}, each fragment ends at a cut
    {"do": "receive"}                               {"message": M} or {"closed": [code, "reason"]}
    {"do": "ping", "text": "…"}                     {"pong": "…"}, the payload that came back
    {"do": "close", "code": 4000, "reason": "…"}    {"closed": [code, "reason"]}, the server's;
                                                    the code to close with may be null

What fails is answered `{"failed": "why"}`. The first line, unasked, is `{"client": "name version",
"can": ["fragments", "ping"]}`, with what of these two the client offers. A client is used for one
connection after another. The end of its input is the end of it.
"""
import asyncio
import base64
import json
import sys


def pack(message):
    """A text or bytes, as a line can carry it."""
    if isinstance(message, str):
        return {"text": message}
    return {"binary": base64.b64encode(message).decode()}


def unpack(packed):
    """The text or bytes that a line carries."""
    if "text" in packed:
        return packed["text"]
    return base64.b64decode(packed["binary"], validate=True)


def pieces(message, cuts):
    """The bytes of a message, cut."""
    payload = message.encode() if isinstance(message, str) else message
    return [payload[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(payload)])]


def tell(line):
    print(json.dumps(line), flush=True)


async def serve(greeting, answer):
    """Answers what is asked for until the input ends."""
    tell(greeting)
    # Other tasks, such as the one that answers pings, run on while nothing is asked for.
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            tell(await answer(json.loads(line)))
        except Exception as error:
            tell({"failed": repr(error)})
