#!/usr/bin/env python3
"""A backend of a running gateway: answers what begins with its name, and knows who is there.

    pip install websockets
    python3 examples/backend.py [NAME [URL]]     by default: python ws://127.0.0.1:9002/control

Start as many as you like, in any language (examples/backend.js is the same), with
`majordomo --mode driver`. MAJORDOMO_ADMIN_TOKEN is the gateway's token, if it has one.
"""
import asyncio
import json
import os
import sys

import websockets

NAME = sys.argv[1] if len(sys.argv) > 1 else "python"
URL = sys.argv[2] if len(sys.argv) > 2 else "ws://127.0.0.1:9002/control"
TOKEN = os.environ.get("MAJORDOMO_ADMIN_TOKEN")


async def drive(link):
    """Does what a backend does, until the link ends."""
    seq, house = 0, set()
    async for line in link:
        event = json.loads(line)
        if "reply" in event:  # only commands with an id, and bad ones, are answered
            if not event["ok"]:
                print(NAME, "failed:", event["error"], event["detail"], flush=True)
            continue
        seq += 1
        assert event["seq"] == seq, f"expected event {seq}, got {event}"
        match event["event"]:
            case "ready":
                print(NAME, "linked to", event["epoch"], flush=True)
            case "snapshot":
                house.update(session["id"] for session in event["sessions"])
                if not event["more"]:
                    print(NAME, "found", json.dumps(sorted(house)), flush=True)
            case "connect":
                house.add(event["session"])
            case "disconnect":
                house.discard(event["session"])
            case "message" if event.get("text", "").startswith(NAME):
                text = f"{NAME} heard {event['text']!r}, and knows {len(house)}"
                await link.send(
                    json.dumps({"command": "send", "session": event["session"], "text": text})
                )


async def main():
    headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}
    # Links again, ever more slowly, whenever the link is lost.
    async for link in websockets.connect(URL, additional_headers=headers, max_size=None):
        try:
            await drive(link)
        except websockets.ConnectionClosed as error:
            print(NAME, "lost the link:", error, flush=True)


asyncio.run(main())
