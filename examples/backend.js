#!/usr/bin/env node
// A backend of a running gateway: answers messages that begin with its name, and keeps a set of the
// open sessions.
//
//     npm install ws
//     node examples/backend.js [NAME [URL]]     by default: node ws://127.0.0.1:9002/control?observer=false
//
// Any number of backends can run at once, in any language (examples/backend.py does the same), with
// `majordomo --mode backend`. MAJORDOMO_ADMIN_TOKEN is the gateway's token, if it has one.
"use strict";

const WebSocket = require("ws");

const [name = "node", url = "ws://127.0.0.1:9002/control?observer=false"] = process.argv.slice(2);
const token = process.env.MAJORDOMO_ADMIN_TOKEN;
const LONGEST = 30_000; // ms between two attempts to connect
let wait = 100;

function connect() {
  const socket = new WebSocket(url, {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
  });
  const sessions = new Set();
  let seq = 0;

  socket.on("message", (line) => {
    const event = JSON.parse(line);
    if ("reply" in event) { // a command without an id gets a reply only if it is invalid
      if (!event.ok) console.log(name, "failed:", event.error, event.detail);
      return;
    }
    if (event.seq !== ++seq) throw new Error(`expected event ${seq}, got ${line}`);
    switch (event.event) {
      case "ready":
        wait = 100;
        console.log(name, "connected to", event.epoch);
        break;
      case "snapshot":
        for (const session of event.sessions) sessions.add(session.id);
        if (!event.more) console.log(name, "found", JSON.stringify([...sessions].sort()));
        break;
      case "connect":
        sessions.add(event.session);
        break;
      case "disconnect":
        sessions.delete(event.session);
        break;
      case "message":
        if (event.text?.startsWith(name)) {
          const text = `${name} received '${event.text}', and knows ${sessions.size} sessions`;
          socket.send(JSON.stringify({ command: "send", session: event.session, text }));
        }
    }
  });
  socket.on("error", (error) => console.log(name, "is not connected:", error.message));
  socket.on("close", () => {
    setTimeout(connect, wait);
    wait = Math.min(2 * wait, LONGEST);
  });
}

connect();
