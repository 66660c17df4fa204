// The words as a list of turns; for screen readers each turn is announced once, when it is over.

import { clock } from "./timeline.js";

export class Transcript {
  constructor(list, live) {
    this.list = list;
    this.live = live;
    this.model = "Model";
    this.items = new Map();
  }

  clear() {
    this.list.replaceChildren();
    this.items.clear();
  }

  show(turn) {
    const item = this.items.get(turn) ?? this.add(turn);
    const words = turn.words.map(({ text }) => text).join(" ");
    item.when.textContent = about(turn);
    item.text.textContent = words || "…";
    if (turn.over && !item.told && words) {
      item.told = true;
      this.live.textContent = `${item.who.textContent}: ${words}`;
    }
    this.list.lastElementChild.scrollIntoView({ block: "nearest" });
  }

  add(turn) {
    const row = document.createElement("li");
    row.className = `turn ${turn.who}`;
    const head = row.appendChild(document.createElement("h2"));
    const who = head.appendChild(document.createElement("b"));
    who.textContent = turn.who === "you" ? "You" : this.model;
    const when = head.appendChild(document.createElement("span"));
    const text = row.appendChild(document.createElement("p"));
    this.list.append(row);
    const item = { who, when, text, told: false };
    this.items.set(turn, item);
    return item;
  }
}

function about({ start, latency, cut }) {
  const parts = [start === null ? "" : clock(start)];
  if (latency !== null) parts.push(`answered after ${latency.toFixed(2)} s`);
  if (cut) parts.push("interrupted");
  return parts.filter(Boolean).join(" · ");
}
