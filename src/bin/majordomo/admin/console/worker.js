"use strict";
// The control connection, in a worker. Whatever the message rate, the page's own thread gets a few
// batches a second, with counts in place of most messages.

const BATCH_MS = 60;
const STATS_MS = 1000;
const SILENCE_MS = 10_000; // A connection that receives nothing for so long is dead.
// The page is an observer, so it slows down no client; but a browser should not be kept busy by a
// preview. The page is overloaded at more messages a second than this, or if replies take longer than
// this while messages arrive.
const MAX_RATE = 5000;
const LATE_MS = 3000;
const MAX_LENGTH = 2000; // Characters of a message that the page is given.
const MAX_EVENTS = 500; // In one batch: the page applies one in a few milliseconds.
const MAX_WATCHED = 100; // Messages of the watched session in one batch.
const MAX_FEED = 20; // Messages of all sessions in one batch.

let socket;
let seq;
let receivedAt; // Time of the last event or reply.
let repliedAt; // Time of the last reply.
let recent = 0; // Messages since the last check.
let watched = null;
let batch = empty();
let flushTimer;

function empty() {
  return { events: [], replies: [], counts: new Map(), watched: [], feed: [], messages: 0 };
}

onmessage = ({ data }) => {
  if (data.open) open(data.open, data.protocols);
  else if ("watch" in data) watched = data.watch;
  else send(data.command);
};

function open(url, protocols) {
  const before = socket;
  const mine = (socket = new WebSocket(url, protocols));
  before?.close();
  seq = 0;
  flush();
  receivedAt = repliedAt = performance.now();
  mine.onopen = () => send({ command: "stats", id: "stats" });
  mine.onmessage = ({ data }) => {
    if (mine === socket) receive(JSON.parse(data));
  };
  mine.onclose = ({ code, reason }) => {
    if (mine !== socket) return;
    socket = undefined;
    flush();
    postMessage({ closed: { code, reason } });
  };
}

// Without an open connection the reply is an error: every command gets a reply.
function send(command) {
  if (socket?.readyState === WebSocket.OPEN) return socket.send(JSON.stringify(command));
  batch.replies.push({ reply: command.id, ok: false, error: "disconnected", detail: "no connection to the gateway" });
  flushTimer ??= setTimeout(flush, BATCH_MS);
}

setInterval(() => {
  if (!socket) return;
  if (socket.readyState === WebSocket.OPEN) send({ command: "stats", id: "stats" });
  const now = performance.now();
  if (recent > MAX_RATE || (recent > 0 && now - repliedAt > LATE_MS)) postMessage({ isOverloaded: true });
  recent = 0;
  if (now - receivedAt > SILENCE_MS) abandon("no answer");
}, STATS_MS);

// Does not wait for a close frame, which a dead peer never sends.
function abandon(reason) {
  const old = socket;
  socket = undefined;
  old.close();
  postMessage({ closed: { code: 0, reason } });
}

function receive(event) {
  flushTimer ??= setTimeout(flush, BATCH_MS);
  receivedAt = performance.now();
  if ("reply" in event) {
    repliedAt = receivedAt;
    batch.replies.push(event);
    return;
  }
  seq += 1;
  if (event.seq !== seq) return abandon(`event ${seq} is missing`);
  if (event.event === "message") return count(event);
  // Counts of an earlier session with this id do not belong to the new one.
  if (event.event === "connect") batch.counts.delete(event.session);
  batch.events.push(event);
  if (event.event === "snapshot" || batch.events.length >= MAX_EVENTS) flush();
}

function count({ session, text, binary }) {
  const size = text === undefined ? base64Size(binary) : utf8Size(text);
  const counts = batch.counts.get(session);
  if (counts) {
    counts[0] += 1;
    counts[1] += size;
  } else {
    batch.counts.set(session, [1, size]);
  }
  batch.messages += 1;
  recent += 1;
  const isWatched = session === watched && batch.watched.length < MAX_WATCHED;
  if (!isWatched && batch.feed.length >= MAX_FEED) return;
  const message = { session, size, isText: text !== undefined, at: Date.now() };
  message.body = (text ?? binary).slice(0, MAX_LENGTH);
  message.isCut = (text ?? binary).length > MAX_LENGTH;
  if (isWatched) batch.watched.push(message);
  if (batch.feed.length < MAX_FEED) batch.feed.push(message);
}

function utf8Size(text) {
  let size = text.length;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    // Two units of a pair make four bytes, two each; any other above U+07FF makes three.
    if (unit > 0x7f) size += unit > 0x7ff && (unit & 0xf800) !== 0xd800 ? 2 : 1;
  }
  return size;
}

function base64Size(text) {
  return (text.length / 4) * 3 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0);
}

function flush() {
  clearTimeout(flushTimer);
  flushTimer = undefined;
  if (!batch.events.length && !batch.replies.length && !batch.messages) return;
  postMessage({ batch });
  batch = empty();
}
