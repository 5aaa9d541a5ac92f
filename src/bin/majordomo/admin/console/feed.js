// A word to all, and what happens in the house.

const allLog = new Log($("all-log"), 50);
const feedLog = new Log($("feed-log"), 300);

house.hear({
  came: ({ id, remote }) => feedLog.add("came", `connected from ${remote}`, { who: id }),
  gone: ({ id, end }) => feedLog.add("gone", `is gone: ${ending(end)}`, { who: id, at: end.at }),
  said({ feed, messages }) {
    for (const said of feed) feedLog.add("said", shown(said), { who: said.session, at: said.at });
    const more = messages - feed.length;
    if (more > 0) feedLog.add("note", `and ${plural(more, "more message", "more messages")}`);
  },
  restarted: () => feedLog.add("note", "The gateway restarted"),
});

sendWithEnter($("to-all"), $("broadcast"));
$("broadcast").onsubmit = async (event) => {
  event.preventDefault();
  const text = $("to-all").value;
  try {
    const { queued, refused } = await wire.ask({ command: "broadcast", text });
    const outcome = `Queued for ${plural(queued, "session")}${refused ? `, refused by ${number(refused)}` : ""}`;
    write($("all-outcome"), outcome);
    allLog.add("sent", text, { tail: outcome });
    $("to-all").value = "";
  } catch (error) {
    write($("all-outcome"), `Not sent: ${error.message}`);
  }
  $("to-all").focus();
};

const panels = { try: $("tab-try"), all: $("tab-all"), feed: $("tab-feed") };

function showPanel(name, focus = false) {
  details.close();
  for (const [key, tab] of Object.entries(panels)) {
    const isChosen = key === name;
    tab.setAttribute("aria-selected", isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    $(key).hidden = !isChosen;
    if (isChosen && focus) tab.focus();
  }
  Log.reveal($("panels"));
}

for (const [key, tab] of Object.entries(panels)) {
  tab.onclick = () => showPanel(key);
  tab.onkeydown = ({ key: pressed }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[pressed];
    if (!step) return;
    const names = Object.keys(panels);
    showPanel(names[(names.indexOf(key) + step + names.length) % names.length], true);
  };
}
