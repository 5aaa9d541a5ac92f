"""Scenarios with clients of other projects and raw TCP in the gateway's hub."""
import contextlib
import random

from gateway import Gateway
from peers import Mute, RawLengths, RawLines, Refused

MIB = 1 << 20

# Messages of both kinds, of different lengths and characters.
MESSAGES = [
    "hello",
    b"hello",
    "",
    b"",
    "\ufeffgrüezi, Ελλάδα, 日本, \U0001f3a9, \0, \u2028",
    bytes(range(256)),
    b"not UTF-8: \xff\xfe",
    "its end is not the line's\r",
    "\U0001f3a9" * (MIB // 4),
    random.Random(1).randbytes(MIB),
]

# A message and where it is split: within a character, and twice at one position.
FRAGMENTS = [
    ("grüezi \U0001f3a9", [3, 3, 9]),
    (bytes(range(256)), [1, 128, 128]),
    ("\U0001f3a9" * (MIB // 4), [1, MIB // 2 + 1]),
]

REASON = "bis bald, grüezi"


class Hub:
    """A gateway with a backend over stdio, and all clients connected to it."""

    def __init__(self, program, webs, *flags):
        self.raws = [RawLines(), RawLengths()]
        self.webs = webs
        self.clients = [*webs, *self.raws]
        listen = ["--listen=ws://127.0.0.1:0"]
        listen += [f"--listen=tcp://127.0.0.1:0?framing={raw.framing}" for raw in self.raws]
        self.gateway = Gateway(program, "--mode=hub", *listen, *flags, stdio=True)
        self.ids = {}

    def __enter__(self):
        self.gateway.event("ready")
        for client in self.clients:
            self.connect(client)
        return self

    def __exit__(self, *exception):
        self.gateway.__exit__(*exception)
        for raw in self.raws:
            with contextlib.suppress(OSError):
                raw.leave()

    def connect(self, client):
        raw = self.raws.index(client) + 1 if client in self.raws else 0
        client.connect(self.gateway.urls[raw])
        self.ids[client] = self.gateway.event("connect")["session"]

    def spread(self, sender, message, send):
        """Sends a message from a client, and checks that all clients and the backend receive it."""
        sent = sender.as_sent(message)
        if sent is None:
            return
        listening = {client: expected for client in self.clients if (expected := client.as_received(sent))}
        send()
        for client in listening:
            client.begin_receive()
        for client, expected in listening.items():
            same(client.received(), expected, f"what {client} receives from {sender}")
        event = self.gateway.event("message")
        same(event["session"], self.ids[sender], f"the event for {sender}")
        received = {key: event[key] for key in ("text", "binary") if key in event}
        same({"message": received}, self.webs[0].as_received(sent), f"the event for {sender}")

    def gone(self, client, **how):
        """Checks the disconnect event of a client."""
        event = self.gateway.event("disconnect")
        how["session"] = self.ids[client]
        same({key: event[key] for key in how}, how, f"the end of {client}")


def messages(program, webs):
    """Text and binary, empty, not ASCII, and of 1 MiB, from each to all."""
    with Hub(program, webs) as hub:
        for sender in hub.clients:
            for message in MESSAGES:
                hub.spread(sender, message, lambda: sender.send(message))


def fragments(program, webs):
    """Fragments, split within a character and some of them empty, from each client that supports them to all."""
    with Hub(program, webs) as hub:
        for sender in hub.clients:
            for message, cuts in FRAGMENTS if "fragments" in sender.can else ():
                hub.spread(sender, message, lambda: sender.send_in_pieces(message, cuts))


def pings(program, webs):
    """A ping from each client that supports it is answered with its payload, an empty one as well."""
    with Hub(program, webs) as hub:
        for client in hub.clients:
            for text in ("are you there? grüezi", "") if "ping" in client.can else ():
                same(client.ping(text), text, f"the pong for {client}")


def heartbeats(program, webs):
    """Clients that are silent are pinged and stay; one that answers no ping is disconnected."""
    times = ("--heartbeat-interval=1s", "--heartbeat-timeout=6s")
    with Hub(program, webs, *times) as hub:
        for web in webs:
            web.begin_receive()
        mute = Mute()
        hub.connect(mute)
        # All others were silent for longer: without pongs they would be disconnected before it.
        hub.gone(mute, cause="heartbeat_timeout")
        mute.leave()
        hub.raws[0].send("are you still there?")
        for client in hub.clients:
            expected = client.as_received("are you still there?")
            same(client.received(), expected, f"{client} after the silence")


def closing(program, webs):
    """Close frames with and without code and reason are answered, from either side."""
    with Hub(program, webs) as hub:
        for client in hub.clients:
            code = client.close(4001, REASON)
            if client in hub.webs:
                same(code, 4001, f"the answer to the close frame of {client}")
                hub.gone(client, cause="client_closed", code=4001, reason=REASON)
            else:
                hub.gone(client, cause="client_closed", code=None)
        for client in hub.clients:
            hub.connect(client)
            client.begin_receive()
            command = {"session": hub.ids[client], "code": 4002, "reason": REASON}
            hub.gateway.send(command="close", **command)
            same(client.received(), end(client, 4002, REASON), f"what {client} is closed with")
            hub.gone(client, cause="removed", code=None if client.framing else 4002)
        for client in hub.webs:
            hub.connect(client)
            # Some send an empty close frame then, others 1000, and they report it in three ways.
            code = client.close(None, "")
            same(code in (1000, 1005, None), True, f"{code} for {client} that closes without a word")
            hub.gone(client, cause="client_closed", reason="")


def too_big(program, webs):
    """A client that sends too large a message is closed with 1009, and no other client is."""
    for size in (MIB + 1, 4 * MIB):
        with Hub(program, webs) as hub:
            for client in hub.webs:
                with contextlib.suppress(Refused):  # It may be closed before all was sent.
                    client.send(bytes(size))
                client.begin_receive()
                closed = client.received().get("closed", [])
                same(closed[:1], [1009], f"what {client} is closed with after {size} bytes")
                hub.gone(client, cause="message_too_big", code=1009)
                hub.connect(client)
                hub.spread(client, "sorry", lambda: client.send("sorry"))


def stop(program, webs):
    """SIGTERM closes all sessions with 1001."""
    with Hub(program, webs) as hub:
        for client in hub.clients:
            client.begin_receive()
        hub.gateway.stop()
        hub.gateway.event("stopping")
        for client in hub.clients:
            same(client.received(), end(client, 1001, ""), f"what {client} is closed with")
            if client in hub.raws:
                client.leave()
        for client in hub.clients:
            event = hub.gateway.event("disconnect")
            same(event["cause"], "stopped", f"the end of {event['session']}")
        hub.gateway.event("stopped")
        same(hub.gateway.wait(), 0, "the exit code")


def origins(program, webs):
    """A browser is accepted from the configured origins, and from no other."""
    for browser in (web for web in webs if web.origin):
        for origin in (browser.origin, "https://example.org"):
            with Gateway(program, "--listen=ws://127.0.0.1:0", "--origin", origin) as gateway:
                try:
                    browser.connect(gateway.urls[0])
                    is_admitted = True
                except Refused:
                    is_admitted = False
                what = f"{browser} from {browser.origin} is admitted where {origin} is"
                same(is_admitted, origin == browser.origin, what)


def scenarios(webs):
    """The scenarios for these clients."""
    of_browsers = [origins] if any(web.origin for web in webs) else []
    return [messages, fragments, pings, heartbeats, closing, too_big, stop, *of_browsers]


def end(client, code, reason):
    """What a client receives when the gateway closes it."""
    return {"end": b""} if client.framing else {"closed": [code, reason]}


def same(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {short(found)}, not {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:150]}… ({len(text)} letters)"
