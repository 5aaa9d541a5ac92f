// The client of `ws`, from npm. For the protocol see `answering.py`.
"use strict";

const readline = require("node:readline");
const { once } = require("node:events");
const WebSocket = require("ws");
const { version } = require("ws/package.json");

const DONE = { done: true };

let socket;
let received; // Messages that no request has asked for yet.
let waiting; // Resolves the request that waits for the next message.

function reply(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function arrived(what) {
  if (waiting) waiting(what);
  else received.push(what);
  waiting = undefined;
}

function receive() {
  return received.length ? received.shift() : new Promise((resolve) => (waiting = resolve));
}

function pack(data, isBinary) {
  return isBinary ? { binary: data.toString("base64") } : { text: data.toString() };
}

function bytes(message) {
  return "text" in message ? Buffer.from(message.text) : Buffer.from(message.binary, "base64");
}

function send(data, options) {
  return new Promise((resolve, reject) =>
    socket.send(data, options, (error) => (error ? reject(error) : resolve())),
  );
}

async function connect(url) {
  received = [];
  socket = new WebSocket(url); // It offers compression.
  socket.on("message", (data, isBinary) => arrived({ message: pack(data, isBinary) }));
  socket.on("pong", (data) => arrived({ pong: data.toString() }));
  socket.on("close", (code, reason) => arrived({ closed: [code, reason.toString()] }));
  await once(socket, "open");
  socket.on("error", (error) => arrived({ failed: String(error) }));
}

async function answer(request) {
  switch (request.do) {
    case "connect":
      await connect(request.url);
      return DONE;
    case "send":
      await send(bytes(request.message), { binary: "binary" in request.message });
      return DONE;
    case "fragments": {
      const binary = "binary" in request.message;
      const payload = bytes(request.message);
      let begin = 0;
      for (const end of request.cuts) {
        await send(payload.subarray(begin, end), { binary, fin: false });
        begin = end;
      }
      await send(payload.subarray(begin), { binary, fin: true });
      return DONE;
    }
    case "receive":
      return receive();
    case "ping":
      socket.ping(request.text);
      return receive();
    case "close":
      socket.close(...(request.code === null ? [] : [request.code, request.reason]));
      return receive();
  }
}

async function main() {
  reply({ client: `ws ${version}`, can: ["fragments", "ping"] });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      reply(await answer(JSON.parse(line)));
    } catch (error) {
      reply({ failed: String(error) });
    }
  }
  process.exit();
}

main();
