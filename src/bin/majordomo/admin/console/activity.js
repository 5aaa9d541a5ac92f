// The panels "Send to all" and "Activity", and the tabs.

const sentLog = new Log($("sent-log"), 50);
const activityLog = new Log($("activity-log"), 300);

model.subscribe({
  connected: ({ id, remote }) => activityLog.add("connected", `connected from ${remote}`, { session: id }),
  disconnected: ({ id, end }) => activityLog.add("disconnected", `disconnected: ${ending(end)}`, { session: id, at: end.at }),
  messages({ feed, messages }) {
    for (const message of feed) activityLog.add("message", preview(message), { session: message.session, at: message.at });
    const more = messages - feed.length;
    if (more > 0) activityLog.add("note", `and ${plural(more, "more message", "more messages")}`);
  },
  gap: (events) => activityLog.add("note", `${plural(events, "message was", "messages were")} left out: the rate is too high for this page`),
  restarted: () => activityLog.add("note", "The gateway restarted"),
});

submitOnEnter($("broadcast-text"), $("broadcast"));
$("broadcast").onsubmit = async (event) => {
  event.preventDefault();
  const text = $("broadcast-text").value;
  try {
    const { queued, refused } = await connection.request({ command: "broadcast", text });
    const outcome = `Queued for ${plural(queued, "session")}${refused ? `, refused by ${number(refused)}` : ""}`;
    write($("broadcast-outcome"), outcome);
    sentLog.add("sent", text, { tail: outcome });
    $("broadcast-text").value = "";
  } catch (error) {
    write($("broadcast-outcome"), `Not sent: ${error.message}`);
  }
  $("broadcast-text").focus();
};

const panels = { try: $("tab-try"), all: $("tab-all"), activity: $("tab-activity") };

function showPanel(name, focus = false) {
  details.close();
  for (const [key, tab] of Object.entries(panels)) {
    const isSelected = key === name;
    tab.setAttribute("aria-selected", isSelected);
    tab.tabIndex = isSelected ? 0 : -1;
    $(key).hidden = !isSelected;
    if (isSelected && focus) tab.focus();
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
