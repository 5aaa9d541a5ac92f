#!/usr/bin/env python3
"""A backend over stdio: starts the gateway, and echoes each message to its session.

    python3 examples/backend_stdio.py [FLAG...]      for example --listen ws://127.0.0.1:9001

Ctrl-C stops both. MAJORDOMO is the path of the gateway, by default target/release/majordomo.
"""
import json
import os
import signal
import subprocess
import sys

signal.signal(signal.SIGINT, signal.SIG_IGN)  # the gateway gets it too, and its output ends when it has stopped
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
    if "reply" in event:  # a command without an id gets a reply only if it is invalid
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
