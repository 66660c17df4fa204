// Both voices on one time line: loudness as bars, words where they were said, turns, latencies, lost connections.

import { STEP } from "./conversation.js";

const SCALES = [60, 90]; // pixels a second on a narrow screen and on a wide one
const WIDE = 600; // pixels
const EDGE = 0.15; // of the width lies right of now: words are decided before they sound
const GAP = 28; // pixels between the time's axis and a voice, where latencies are written
const PAGE = 4; // seconds that the view moves at a time where motion is to be reduced
const FONT = "13px system-ui, sans-serif";

export class Timeline {
  /** `onlive(live)`: whether the view follows the conversation. */
  constructor(canvas, onlive) {
    this.canvas = canvas;
    this.onlive = onlive;
    this.conversation = null;
    this.back = 0; // seconds that the view lies behind now
    this.scale = SCALES[0];
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.paint());
    new ResizeObserver(() => this.fit()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => event.buttons && this.move(event.movementX / this.scale));
    canvas.addEventListener("keydown", (event) => this.press(event));
    this.paint();
  }

  show(conversation) {
    this.conversation = conversation;
    this.canvas.tabIndex = 0; // from now on there is something to look back at
    this.move(-Infinity);
  }

  /** Draw soon. */
  paint() {
    this.painting ??= requestAnimationFrame(() => {
      this.painting = null;
      this.draw();
    });
  }

  fit() {
    const { width, height } = this.canvas.getBoundingClientRect();
    this.width = width;
    this.scale = SCALES[Number(width >= WIDE)];
    this.room = width * (1 - EDGE); // up to now
    this.height = height;
    this.canvas.width = width * devicePixelRatio;
    this.canvas.height = height * devicePixelRatio;
    this.paint();
  }

  wheel(event) {
    if (Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return; // the page scrolls
    event.preventDefault();
    this.move(-event.deltaX / this.scale);
  }

  press(event) {
    const seconds = { ArrowLeft: 1, ArrowRight: -1, PageUp: 10, PageDown: -10, Home: Infinity, End: -Infinity }[event.key];
    if (seconds === undefined) return;
    event.preventDefault();
    this.move(seconds);
  }

  /** Go back by so many seconds. */
  move(seconds) {
    const most = Math.max(0, (this.conversation?.time ?? 0) - this.room / this.scale);
    this.back = Math.min(most, Math.max(0, this.back + seconds));
    this.onlive(this.back === 0);
    this.paint();
  }

  /** While the user looks at what was, it stays where it is. */
  advance(seconds) {
    if (this.back) this.back += seconds;
    this.paint();
  }

  draw() {
    const { canvas, conversation, width, height } = this;
    if (!width) return;
    const pen = canvas.getContext("2d");
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (!conversation) return;
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const now = conversation.time - this.back;
    const shown = this.still.matches && !this.back ? Math.ceil(now / PAGE) * PAGE : now;
    const x = (time) => this.room - (shown - time) * this.scale;
    const from = Math.max(0, shown - this.room / this.scale - 1);
    const middle = height / 2;
    const half = (middle - 46) / 3; // of the height of a voice
    const centres = { you: middle - half - GAP, model: middle + half + GAP };
    const view = { pen, colour, x, from, to: shown, middle, half, centres };
    this.gaps(view);
    this.axis(view);
    this.turns(view);
    this.voice(view, "you");
    this.voice(view, "model");
    this.words(view, "you", 22);
    this.words(view, "model", height - 14);
    this.latencies(view);
    this.name(view, "you", "You");
    this.name(view, "model", conversation.model);
  }

  gaps({ pen, colour, x, from }) {
    pen.fillStyle = colour("line");
    pen.globalAlpha = 0.6;
    for (const { start, end } of this.conversation.gaps) {
      const over = end ?? this.conversation.time;
      if (over > from) pen.fillRect(x(start), 0, x(over) - x(start), this.height);
    }
    pen.globalAlpha = 1;
  }

  axis({ pen, colour, x, from, to, middle }) {
    pen.strokeStyle = colour("line");
    pen.fillStyle = colour("quiet");
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.lineWidth = 1;
    line(pen, 0, middle, this.width, middle);
    for (let second = Math.ceil(from); second <= to; second++) {
      line(pen, x(second), middle - 3, x(second), middle + 3);
      if (second % 2 === 0) pen.fillText(clock(second), x(second), middle + 15);
    }
  }

  turns({ pen, colour, x, from, half, centres }) {
    for (const { who, start, end, cut } of this.conversation.turns) {
      if (start === null || end < from) continue;
      const [left, right] = [x(start) - 4, x(Math.max(start, end)) + 4];
      const top = centres[who] - half;
      pen.fillStyle = colour(who);
      pen.globalAlpha = 0.1;
      pen.beginPath();
      pen.roundRect(left, top, right - left, 2 * half, 8);
      pen.fill();
      pen.globalAlpha = 1;
      if (cut) pen.fillRect(right - 2, top, 2, 2 * half);
    }
  }

  voice({ pen, colour, x, from, to, half, centres }, who) {
    const peaks = this.conversation.peaks[who];
    const last = Math.min(peaks.length, Math.ceil(to / STEP));
    pen.fillStyle = colour(who);
    pen.beginPath();
    for (let block = Math.max(0, Math.floor(from / STEP)); block < last; block++) {
      const loud = Math.max(1, Math.min(1, Math.sqrt(peaks[block])) * half);
      pen.roundRect(x(block * STEP), centres[who] - loud, STEP * this.scale - 1.2, 2 * loud, 1.2);
    }
    pen.fill();
  }

  words({ pen, colour, x, from }, who, baseline) {
    pen.font = FONT;
    pen.textAlign = "left";
    pen.fillStyle = colour(who);
    let free = -Infinity;
    const turns = this.conversation.turns.filter((turn) => turn.who === who);
    for (const turn of turns) {
      const words = turn.words.filter(({ at }) => at >= from - 4);
      const places = [];
      let next = free;
      for (const { text, at } of words) {
        places.push(Math.max(x(at), next)); // a word waits for room
        next = places.at(-1) + pen.measureText(text).width + 5;
      }
      // The newest words are seen at once: a turn that has no room on the right gives way to the left.
      const back = turn === turns.at(-1) && words.length ? Math.max(0, Math.min(next - this.width, places[0] - free)) : 0;
      words.forEach(({ text }, index) => pen.fillText(text, places[index] - back, baseline));
      free = next - back;
    }
  }

  /** Whose voice it is, where the oldest of it goes out of sight. */
  name({ pen, colour, centres }, who, name) {
    pen.font = `600 ${FONT}`;
    pen.textAlign = "left";
    pen.fillStyle = colour("card");
    pen.globalAlpha = 0.85;
    pen.beginPath();
    pen.roundRect(6, centres[who] - 12, pen.measureText(name).width + 16, 24, 12);
    pen.fill();
    pen.globalAlpha = 1;
    pen.fillStyle = colour(who);
    pen.fillText(name, 14, centres[who] + 5);
  }

  latencies({ pen, colour, x, from, middle }) {
    pen.font = FONT;
    pen.textAlign = "center";
    for (const { latency, asked, start } of this.conversation.turns) {
      if (latency === null || start < from) continue;
      const [left, right] = [x(asked), x(start)];
      pen.strokeStyle = pen.fillStyle = colour("ink");
      pen.lineWidth = 2;
      line(pen, left, middle, right, middle);
      line(pen, left, middle - 6, left, middle + 6);
      line(pen, right, middle - 6, right, middle + 6);
      const text = `${latency.toFixed(2)} s`;
      const half = pen.measureText(text).width / 2 + 6;
      const centre = (left + right) / 2;
      pen.fillStyle = colour("card");
      pen.beginPath();
      pen.roundRect(centre - half, middle - 30, 2 * half, 20, 10);
      pen.fill();
      pen.fillStyle = colour("ink");
      pen.fillText(text, centre, middle - 15);
    }
  }
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
