#!/usr/bin/env node
// A backend of a running gateway: answers what begins with its name, and knows who is there.
//
//     npm install ws
//     node examples/backend.js [NAME [URL]]     by default: node ws://127.0.0.1:9002/control
//
// Start as many as you like, in any language (examples/backend.py is the same), with
// `majordomo --mode driver`. MAJORDOMO_ADMIN_TOKEN is the gateway's token, if it has one.
"use strict";

const WebSocket = require("ws");

const [name = "node", url = "ws://127.0.0.1:9002/control"] = process.argv.slice(2);
const token = process.env.MAJORDOMO_ADMIN_TOKEN;
const LONGEST = 30_000; // ms between two attempts to link
let wait = 100;

function link() {
  const socket = new WebSocket(url, {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
  });
  const house = new Set();
  let seq = 0;

  socket.on("message", (line) => {
    const event = JSON.parse(line);
    if ("reply" in event) { // only commands with an id, and bad ones, are answered
      if (!event.ok) console.log(name, "failed:", event.error, event.detail);
      return;
    }
    if (event.seq !== ++seq) throw new Error(`expected event ${seq}, got ${line}`);
    switch (event.event) {
      case "ready":
        wait = 100;
        console.log(name, "linked to", event.epoch);
        break;
      case "snapshot":
        for (const session of event.sessions) house.add(session.id);
        if (!event.more) console.log(name, "found", JSON.stringify([...house].sort()));
        break;
      case "connect":
        house.add(event.session);
        break;
      case "disconnect":
        house.delete(event.session);
        break;
      case "message":
        if (event.text?.startsWith(name)) {
          const text = `${name} heard '${event.text}', and knows ${house.size}`;
          socket.send(JSON.stringify({ command: "send", session: event.session, text }));
        }
    }
  });
  socket.on("error", (error) => console.log(name, "has no link:", error.message));
  socket.on("close", () => {
    setTimeout(link, wait);
    wait = Math.min(2 * wait, LONGEST);
  });
}

link();
