"use strict";
// The control link, in a worker: however much is said in the house, the page's own thread gets a
// few batches a second, with counts in place of most messages.

const EVERY_MS = 60;
const STATS_MS = 1000;
const SILENCE_MS = 10_000; // If nothing comes for so long, the link is dead.
// Every link paces the house, and no page is to do that. More messages a second than this, or an
// answer that is so late while there are messages, is too much.
const TOO_MUCH = 5000;
const LATE_MS = 3000;
const LONGEST = 2000; // Letters of a message that the page is given.
const MOST_EVENTS = 500; // In one batch: the page takes one in a few milliseconds.
const MOST_LIVE = 100; // Messages in one batch for the session that is looked at.
const MOST_FEED = 20; // The same for the feed of everything.

let socket;
let seq;
let heard; // When something came last.
let answered; // When an answer came last.
let lately = 0; // Messages since it was looked last.
let watched = null;
let batch = empty();
let flushing;

function empty() {
  return { events: [], replies: [], counts: new Map(), live: [], feed: [], messages: 0 };
}

onmessage = ({ data }) => {
  if (data.open) open(data.open, data.protocols);
  else if ("watch" in data) watched = data.watch;
  else if (data.leave) socket?.close();
  else tell(data.command);
};

function open(url, protocols) {
  const before = socket;
  const mine = (socket = new WebSocket(url, protocols));
  before?.close();
  seq = 0;
  flush();
  heard = answered = performance.now();
  mine.onopen = () => tell({ command: "stats", id: "stats" });
  mine.onmessage = ({ data }) => {
    if (mine === socket) take(JSON.parse(data));
  };
  mine.onclose = ({ code, reason }) => {
    if (mine !== socket) return;
    socket = undefined;
    flush();
    postMessage({ closed: { code, reason } });
  };
}

// Where there is no link, or not yet, whoever asks is told so: no question stays open.
function tell(command) {
  if (socket?.readyState === WebSocket.OPEN) return socket.send(JSON.stringify(command));
  batch.replies.push({ reply: command.id, ok: false, error: "gone", detail: "the gateway is gone" });
  flushing ??= setTimeout(flush, EVERY_MS);
}

setInterval(() => {
  if (!socket) return;
  if (socket.readyState === WebSocket.OPEN) tell({ command: "stats", id: "stats" });
  const now = performance.now();
  if (lately > TOO_MUCH || (lately > 0 && now - answered > LATE_MS)) postMessage({ isTooMuch: true });
  lately = 0;
  if (now - heard > SILENCE_MS) giveUp("no answer");
}, STATS_MS);

// A dead peer answers no close frame either: it is not waited for.
function giveUp(reason) {
  const old = socket;
  socket = undefined;
  old.close();
  postMessage({ closed: { code: 0, reason } });
}

function take(event) {
  flushing ??= setTimeout(flush, EVERY_MS);
  heard = performance.now();
  if ("reply" in event) {
    answered = heard;
    batch.replies.push(event);
    return;
  }
  seq += 1;
  if (event.seq !== seq) return giveUp(`event ${seq} is missing`);
  if (event.event === "message") return count(event);
  // What an id's former owner said is not its new owner's.
  if (event.event === "connect") batch.counts.delete(event.session);
  batch.events.push(event);
  if (event.event === "snapshot" || batch.events.length >= MOST_EVENTS) flush();
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
  lately += 1;
  const isWatched = session === watched && batch.live.length < MOST_LIVE;
  if (!isWatched && batch.feed.length >= MOST_FEED) return;
  const said = { session, size, isText: text !== undefined, at: Date.now() };
  said.body = (text ?? binary).slice(0, LONGEST);
  said.isCut = (text ?? binary).length > LONGEST;
  if (isWatched) batch.live.push(said);
  if (batch.feed.length < MOST_FEED) batch.feed.push(said);
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
  clearTimeout(flushing);
  flushing = undefined;
  if (!batch.events.length && !batch.replies.length && !batch.messages) return;
  postMessage({ batch });
  batch = empty();
}
