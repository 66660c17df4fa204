// The page: what the user does becomes sound and messages, what comes back becomes pictures and words.

import { Client, fromBase64 } from "./client.js";
import { Conversation } from "./conversation.js";
import { download } from "./recording.js";
import { RATE, BLOCK, Sound, SoundError } from "./sound.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const SEE = "Both voices are drawn as they sound, with the words as they are heard and said, and the time that each reply took.";
const SAY = "Say something: “what is seventeen plus twenty five”, for example. Speak over a reply to stop it.";
const BEHIND = "The server is behind: more is said to it than it can hear in time, so replies come late.";
const SLOW = 3; // seconds; where a reply takes longer, the server is asked whether it is behind
const HARMLESS = new Set(["response_cancel_not_active"]); // the reply had ended by itself meanwhile

let models = [];
let sound = null; // while a conversation goes on
let conversation = null; // also after it, to be looked at and downloaded
let asking = false; // for the microphone
let muted = false;
let reply = null; // {item, sent}: the reply that is being played, and its samples so far
let connection = "idle";
let unsent = []; // what was written before the connection was there
let wondered = 0; // when the user's voice had ended for which the server was asked

const transcript = new Transcript($("turns"), $("said"));
const timeline = new Timeline($("timeline"), (live) => ($("live").hidden = live));
const client = new Client({ onevent: take, onstate: follow });

// The conversation begins and ends.

async function begin(microphone) {
  notify("");
  $("talk").disabled = $("example").disabled = true;
  asking = microphone;
  render();
  const next = new Sound(block);
  next.onlost = () => notify("The microphone was taken away. Press End and Talk to begin again, or use a file.");
  try {
    await next.open(microphone);
  } catch (error) {
    await next.close();
    fail(error);
    return false;
  } finally {
    $("talk").disabled = $("example").disabled = asking = false;
    render();
  }
  sound = next;
  conversation = new Conversation($("model").value, show);
  wondered = 0;
  unsent = [];
  transcript.clear();
  timeline.show(conversation);
  mute(false);
  client.connect($("model").value);
  render();
  return true;
}

async function end() {
  client.close();
  const closing = sound;
  sound = null;
  reply = null;
  connection = "idle";
  conversation?.gap(false);
  render();
  await closing?.close();
}

async function hear(file) {
  if (!sound && !(await begin(false))) return;
  try {
    await sound.hear(file);
  } catch (error) {
    fail(error);
    if (!conversation.turns.length) await end();
  }
}

/** A spoken question that comes with the page, for whoever has no microphone or wants to see first. */
async function example() {
  try {
    const answer = await fetch("web/question.mp3");
    await hear(new File([await answer.blob()], "question.mp3"));
  } catch (error) {
    fail(error);
  }
}

/** What the user wrote, in place of a spoken turn. */
async function write(text) {
  if (!sound && !(await begin(false))) return;
  if (reply) interrupt();
  conversation.write(text);
  if (connection === "open") sendText(text);
  else unsent.push(text);
}

function sendText(text) {
  const content = [{ type: "input_text", text }];
  client.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
  client.send({ type: "response.create" });
}

function fail(error) {
  notify(error instanceof SoundError ? error.message : `Something went wrong: ${error.message}`);
}

// Sound and messages.

function block(heard, said, waiting) {
  if (!sound) return;
  conversation.add(heard, said);
  if (reply) reply.waiting = waiting;
  client.hear(heard);
  timeline.advance(BLOCK / RATE);
  if (conversation.waited > SLOW && conversation.offset !== wondered) wonder();
  render();
}

/** A reply is long in coming: say so where it is the server's fault. */
async function wonder() {
  wondered = conversation.offset;
  if ((await client.behind()) && sound) notify(BEHIND);
}

function take(event) {
  if (!sound) return;
  conversation.follow(event);
  switch (event.type) {
    case "session.created":
      client.send({
        type: "session.update",
        session: { type: "realtime", audio: { input: { transcription: { model: "own" } }, output: { voice: voice() } } },
      });
      unsent.splice(0).forEach(sendText);
      break;
    case "response.output_item.added":
      reply = { item: event.item.id, sent: 0, waiting: 0 };
      break;
    case "response.output_audio.delta":
      play(fromBase64(event.delta));
      break;
    case "response.done":
      if (event.response.status === "cancelled") cut();
      else sound.finish();
      break;
    case "error":
      if (!HARMLESS.has(event.error.code)) notify(event.error.message);
      break;
  }
}

function show(turn) {
  transcript.show(turn);
  if (turn.latency !== null && turn.latency < SLOW && $("notice-text").textContent === BEHIND) notify("");
}

function play(samples) {
  if (reply) reply.sent += samples.length;
  sound.play(samples);
}

function interrupt() {
  client.send({ type: "response.cancel" });
  sound.hush();
}

/** The reply was interrupted: be silent, and say how much of it was audible. */
function cut() {
  sound.hush();
  if (!reply) return;
  const played = Math.max(0, reply.sent - reply.waiting);
  client.send({
    type: "conversation.item.truncate",
    item_id: reply.item,
    content_index: 0,
    audio_end_ms: Math.floor((1000 * played) / RATE),
  });
  reply = null;
}

function follow(state, text = "") {
  connection = state;
  conversation?.gap(state === "lost");
  if (state === "lost") sound?.hush();
  if (state === "lost" || state === "ended") notify(text);
  if (state === "open") notify("");
  if (state === "key") ask();
  if (state === "ended" || state === "key") end();
  render();
}

// What the user sees.

function notify(text) {
  $("notice-text").textContent = text;
  $("notice").hidden = !text;
}

function state() {
  if (asking) return ["asking", "Allow the microphone"];
  if (!$("key-form").hidden) return ["idle", "Waits for a key"];
  if (!sound) return ["idle", conversation ? "Ended" : "Ready"];
  if (connection === "lost") return ["lost", "Reconnecting…"];
  if (connection !== "open") return ["connecting", "Connecting…"];
  const speaking = conversation.peaks.model.slice(-8).some((peak) => peak > 0.001);
  if (speaking) return ["speaking", `${conversation.model} speaks`];
  if (muted) return ["muted", "Muted"];
  return ["listening", sound.microphone ? "Listening" : "Listening to files"];
}

function render() {
  const [name, text] = state();
  $("status").dataset.state = name;
  if ($("status").textContent !== text) $("status").textContent = text; // it is read aloud where it changes
  const on = sound !== null;
  $("talk").classList.toggle("on", on);
  $("talk-label").textContent = on ? "End" : conversation ? "Talk again" : "Talk";
  $("mute").disabled = !on;
  $("interrupt").disabled = name !== "speaking";
  $("hint").hidden = on || conversation !== null;
  const locked = !$("key-form").hidden;
  $("hint-text").textContent = asking ? "Allow the microphone." : locked ? "Give the key first." : "Press Talk and ask something.";
  const silent = on && !conversation.turns.length;
  $("tip").hidden = !silent && conversation !== null;
  const tip = silent && sound.microphone ? SAY : SEE;
  if ($("tip").textContent !== tip) $("tip").textContent = tip;
  document.querySelector(".downloads").hidden = !conversation?.time;
  if ($("model").disabled !== on) $("model").disabled = on;
}

function mute(on) {
  muted = on;
  sound?.mute(on);
  $("mute").setAttribute("aria-pressed", String(on));
  render();
}

function voice() {
  return $("voice").value || undefined;
}

function fill(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  select.parentElement.hidden = !names.length;
}

function choose() {
  const model = models.find(({ id }) => id === $("model").value);
  fill($("voice"), model?.voices ?? []);
  $("summary").textContent = model?.summary ?? "";
  transcript.model = model?.id ?? "Model";
}

async function load() {
  try {
    const found = await client.models();
    if (found === null) return ask();
    models = found;
  } catch {
    notify("The server does not answer. Is it running? Reload the page to try again.");
    return;
  }
  $("key-form").hidden = true;
  fill($("model"), models.map(({ id }) => id));
  choose();
  render();
  enable(true);
}

function ask() {
  enable(false);
  if (client.key) notify("The server does not know this key.");
  $("key-form").hidden = false;
  $("key").focus();
  render();
}

function enable(on) {
  for (const button of document.querySelectorAll("#talk, #upload, #example, #write button")) button.disabled = !on;
}

function name(suffix) {
  return `conversation-${conversation.began.toISOString().slice(0, 19).replaceAll(":", "-")}.${suffix}`;
}

$("talk").onclick = () => (sound ? end() : begin(true));
$("mute").onclick = () => mute(!muted);
$("interrupt").onclick = interrupt;
$("example").onclick = example;
$("upload").onclick = () => $("file").click();
$("file").onchange = async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) await hear(file);
};
$("model").onchange = choose;
$("voice").onchange = () => client.send({ type: "session.update", session: { audio: { output: { voice: voice() } } } });
$("live").onclick = () => timeline.move(-Infinity);
$("notice-close").onclick = () => notify("");
$("key-form").onsubmit = (event) => {
  event.preventDefault();
  client.key = $("key").value;
  notify("");
  load();
};
$("write").onsubmit = (event) => {
  event.preventDefault();
  const text = $("line").value.trim();
  $("line").value = "";
  if (text) write(text);
};
$("download-wav").onclick = () => download(conversation.recording.wav(), name("wav"));
$("download-json").onclick = () => {
  const about = { model: $("model").value, voice: $("voice").value || null };
  download(new Blob([conversation.json(about)], { type: "application/json" }), name("json"));
};
addEventListener("keydown", (event) => {
  if (!sound || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  if (event.key === "m") mute(!muted);
  if (event.key === "Escape") interrupt();
});

render();
load();
