#!/usr/bin/env python3
"""A backend of a running gateway: answers messages that begin with its name, and keeps a set of the
open sessions.

    pip install websockets
    python3 examples/backend.py [NAME [URL]]     by default: python ws://127.0.0.1:9002/control?observer=false

Any number of backends can run at once, in any language (examples/backend.js does the same), with
`majordomo --mode backend`. MAJORDOMO_ADMIN_TOKEN is the gateway's token, if it has one.
"""
import asyncio
import json
import os
import sys

import websockets

NAME = sys.argv[1] if len(sys.argv) > 1 else "python"
URL = sys.argv[2] if len(sys.argv) > 2 else "ws://127.0.0.1:9002/control?observer=false"
TOKEN = os.environ.get("MAJORDOMO_ADMIN_TOKEN")


async def serve(connection):
    """Handles events until the connection closes."""
    seq, sessions = 0, set()
    async for line in connection:
        event = json.loads(line)
        if "reply" in event:  # a command without an id gets a reply only if it is invalid
            if not event["ok"]:
                print(NAME, "failed:", event["error"], event["detail"], flush=True)
            continue
        seq += 1
        assert event["seq"] == seq, f"expected event {seq}, got {event}"
        match event["event"]:
            case "ready":
                print(NAME, "connected to", event["epoch"], flush=True)
            case "snapshot":
                sessions.update(session["id"] for session in event["sessions"])
                if not event["more"]:
                    print(NAME, "found", json.dumps(sorted(sessions)), flush=True)
            case "connect":
                sessions.add(event["session"])
            case "disconnect":
                sessions.discard(event["session"])
            case "message" if event.get("text", "").startswith(NAME):
                text = f"{NAME} received {event['text']!r}, and knows {len(sessions)} sessions"
                await connection.send(
                    json.dumps({"command": "send", "session": event["session"], "text": text})
                )


async def main():
    headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}
    # Reconnects with growing pauses.
    async for connection in websockets.connect(URL, additional_headers=headers, max_size=None):
        try:
            await serve(connection)
        except websockets.ConnectionClosed as error:
            print(NAME, "lost the connection:", error, flush=True)


asyncio.run(main())
