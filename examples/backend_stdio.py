#!/usr/bin/env python3
"""An echo: starts the gateway, and sends each message back to the session that it came from.

    python3 examples/backend.py [FLAG...]      for instance --listen ws://127.0.0.1:9001

Ctrl-C stops both. MAJORDOMO names another gateway than target/release/majordomo.
"""
import json
import os
import signal
import subprocess
import sys

signal.signal(signal.SIGINT, signal.SIG_IGN)  # the gateway hears it too, and says when it is done
gateway = subprocess.Popen(
    [os.environ.pop("MAJORDOMO", "target/release/majordomo"), "--stdio", *sys.argv[1:]],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
)


def command(**fields):
    gateway.stdin.write(json.dumps(fields).encode() + b"\n")
    gateway.stdin.flush()


seq = 0
for line in gateway.stdout:
    event = json.loads(line)
    if "reply" in event:  # only commands with an id, and bad ones, are answered
        print("backend:", event["error"], event["detail"], file=sys.stderr)
        continue
    seq += 1
    assert event["seq"] == seq, f"expected event {seq}, got {event}"
    if event["event"] == "message":
        payload = {kind: event[kind] for kind in ("text", "binary") if kind in event}
        command(command="send", session=event["session"], **payload)
    elif event["event"] != "state":
        print("backend:", event["event"], event.get("session", ""), file=sys.stderr)
sys.exit(gateway.wait())
