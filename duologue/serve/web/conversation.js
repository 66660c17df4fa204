// What happened in a conversation and when: loudness of both voices, turns, words, latencies, lost connections.
//
// Times are seconds on the clock of the sound card, from the first sound on; block n covers 40 ms from n * STEP.

import { Recording } from "./recording.js";
import { BLOCK, RATE } from "./sound.js";

export const STEP = BLOCK / RATE;
const VOICED = 0.02; // peak from which a block is taken for voice, in a quiet room
const ABOVE = 2.5; // times as loud as the room is what is taken for voice where it is noisy
const ROOM = 250; // blocks from which it is known how loud the room is
const KNOWN = 50; // before so many the room is taken for quiet
const QUIET = 0.05; // the share of these blocks that are taken for the room alone
const BREATH = 0.5; // seconds; a shorter pause does not end the stretch of voice that a turn is traced back to
const PAUSE = 1.0; // a longer pause does not belong to the turn

export class Conversation {
  /** With `model`; `onturn(turn)`: a turn is new or has changed. */
  constructor(model, onturn) {
    this.model = model;
    this.onturn = onturn;
    this.began = new Date();
    this.peaks = { you: [], model: [] };
    this.turns = [];
    this.gaps = []; // [{start, end}] without a connection
    this.recording = new Recording();
    this.room = []; // peaks of the last blocks in which anything was heard
    this.onset = 0; // where the user's present or last stretch of voice began
    this.offset = -Infinity; // and where it ended
  }

  get time() {
    return this.peaks.you.length * STEP;
  }

  /** Take a block of both voices. */
  add(heard, said) {
    const start = this.time;
    const you = peak(heard);
    const model = peak(said);
    this.peaks.you.push(you);
    this.peaks.model.push(model);
    this.recording.push(heard, said);
    if (you >= this.threshold(you)) {
      if (start - this.offset > BREATH) this.onset = start;
      this.offset = start + STEP;
      this.stretch(this.last("you"), start);
    }
    if (model >= 0.001) this.sounded(start);
  }

  /** From which peak on a block is voice: the room may be noisy, and noise is no voice. */
  threshold(peak) {
    if (peak > 0) this.room.push(peak); // without a microphone, or where it is muted, there is no room to hear
    if (this.room.length > ROOM) this.room.shift();
    if (this.room.length < KNOWN) return VOICED;
    const quiet = [...this.room].sort((one, other) => one - other)[Math.floor(QUIET * this.room.length)];
    return Math.max(VOICED, ABOVE * quiet);
  }

  /** Voice belongs to the user's turn that is going on. */
  stretch(turn, start) {
    if (turn && !turn.over && start - turn.end < PAUSE) turn.end = start + STEP;
  }

  /** The reply is audible: the first block of it tells the latency. */
  sounded(start) {
    const turn = this.turns.findLast((each) => each.who === "model");
    if (!turn) return;
    if (turn.start === null) {
      turn.start = start;
      const asked = this.last("you");
      if (asked && !asked.answered && Number.isFinite(this.offset)) {
        asked.answered = true;
        turn.latency = start - this.offset;
        turn.asked = this.offset;
      }
      this.onturn(turn);
    }
    turn.end = start + STEP;
  }

  /** Seconds since the user's last voice in which nothing of a reply was audible; 0 where nothing is waited for. */
  get waited() {
    const spoken = Number.isFinite(this.offset) && !(this.last("model")?.end > this.offset);
    return spoken ? this.time - this.offset : 0;
  }

  last(who) {
    return this.turns.findLast((turn) => turn.who === who);
  }

  turn(who, id) {
    let turn = this.turns.find((each) => each.id === id);
    if (!turn) {
      const start = who === "you" ? Math.max(this.onset, this.last("you")?.end ?? 0) : null; // a reply starts when audible
      turn = { who, id, start, end: who === "you" ? Math.max(start, this.offset) : null, words: [], over: false, cut: false, latency: null };
      this.turns.push(turn);
      this.onturn(turn);
    }
    return turn;
  }

  word(turn, delta) {
    const text = delta.trim();
    if (text) turn.words.push({ text, at: this.time });
    this.onturn(turn);
  }

  /** Take an event of the server. */
  follow(event) {
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.turn("you", event.item_id);
        break;
      case "conversation.item.input_audio_transcription.delta":
        this.word(this.turn("you", event.item_id), event.delta);
        break;
      case "conversation.item.input_audio_transcription.completed":
        this.finish(this.turn("you", event.item_id), false);
        break;
      case "response.output_item.added":
        this.turn("model", event.response_id).item = event.item.id;
        break;
      case "response.output_audio_transcript.delta":
        this.word(this.turn("model", event.response_id), event.delta);
        break;
      case "response.done": {
        const turn = this.turns.find((each) => each.id === event.response.id);
        if (turn) this.finish(turn, event.response.status === "cancelled");
        break;
      }
    }
  }

  finish(turn, cut) {
    turn.over = true;
    turn.cut = cut;
    this.onturn(turn);
  }

  /** The user wrote: a turn of a moment, from which the reply's latency counts. */
  write(text) {
    const now = this.time;
    const words = text.split(/\s+/).map((word) => ({ text: word, at: now }));
    this.turns.push({ who: "you", id: null, start: now, end: now, words, over: true, cut: false, latency: null });
    this.offset = now;
    this.onturn(this.turns.at(-1));
  }

  /** The connection is lost (true) or there again (false). */
  gap(lost) {
    const open = this.gaps.find((gap) => gap.end === null);
    if (lost && !open) this.gaps.push({ start: this.time, end: null });
    else if (!lost && open) open.end = this.time;
    if (lost) this.turns.filter((turn) => !turn.over).forEach((turn) => this.finish(turn, turn.who === "model"));
  }

  json(about) {
    const turns = this.turns.map(({ who, start, end, words, latency, cut }) => ({
      who,
      start: rounded(start),
      end: rounded(end),
      text: words.map((word) => word.text).join(" "),
      words: words.map(({ text, at }) => ({ word: text, at: rounded(at) })),
      ...(who === "model" ? { latency: rounded(latency), interrupted: cut } : {}),
    }));
    const sound = { sample_rate: RATE, channels: ["you", "model"], seconds: rounded(this.time) };
    const lost = this.gaps.map(({ start, end }) => ({ start: rounded(start), end: rounded(end) }));
    return JSON.stringify({ began: this.began.toISOString(), ...about, sound, turns, connection_lost: lost }, null, 2);
  }
}

function peak(samples) {
  return samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
}

function rounded(seconds) {
  return Number.isFinite(seconds) && seconds !== null ? Math.round(seconds * 1000) / 1000 : null;
}
