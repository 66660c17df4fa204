// On the audio thread: what is heard and what is said, sample by sample on one clock.
//
// The sound card runs at its own rate, the wire at 24 kHz. For every sample that the microphone gives at 24 kHz one of
// the reply is played, so both go to the page as blocks that belong together.

import { Resampler } from "./resample.js";

const RATE = 24000;
const BLOCK = 960; // 40 ms
const CUSHION = 0.1 * RATE; // samples that wait before a reply begins, for the network's jitter

class Duplex extends AudioWorkletProcessor {
  constructor() {
    super();
    this.down = new Resampler(sampleRate, RATE);
    this.up = new Resampler(RATE, sampleRate);
    this.queue = []; // of the reply, at 24 kHz
    this.read = 0; // samples of the first part that were played
    this.waiting = 0; // samples in the queue
    this.playing = false;
    this.whole = true; // no more of this reply will come
    this.muted = false;
    this.sounding = [0, 0].map(() => new Float32Array(128)); // at the card's rate; two quanta of slack
    this.begin();
    this.port.onmessage = ({ data }) => this.take(data);
  }

  begin() {
    this.heard = new Float32Array(BLOCK);
    this.said = new Float32Array(BLOCK);
    this.filled = 0;
  }

  take({ play, whole, clear, muted }) {
    if (play) {
      this.queue.push(play);
      this.waiting += play.length;
      this.whole = false;
    }
    if (whole) this.whole = true;
    if (clear) {
      this.queue = [];
      this.read = this.waiting = 0;
      this.playing = false;
    }
    if (muted !== undefined) this.muted = muted;
  }

  next() {
    if (!this.playing && this.waiting && (this.whole || this.waiting >= CUSHION)) this.playing = true;
    if (!this.playing || !this.waiting) return (this.playing = false), 0;
    const sample = this.queue[0][this.read++];
    this.waiting--;
    if (this.read === this.queue[0].length) {
      this.queue.shift();
      this.read = 0;
    }
    return sample;
  }

  process([input], [output]) {
    const microphone = input[0] && !this.muted ? input[0] : new Float32Array(128);
    const samples = this.down.push(microphone);
    const reply = new Float32Array(samples.length);
    for (let index = 0; index < samples.length; index++) {
      this.heard[this.filled] = samples[index];
      reply[index] = this.said[this.filled] = this.next();
      if (++this.filled === BLOCK) {
        this.port.postMessage({ heard: this.heard, said: this.said, waiting: this.waiting });
        this.begin();
      }
    }
    this.sounding.push(this.up.push(reply));
    this.sound(output);
    return true;
  }

  sound(output) {
    const wanted = output[0].length;
    let filled = 0;
    while (filled < wanted && this.sounding.length) {
      const part = this.sounding.shift();
      const taken = part.subarray(0, wanted - filled);
      output[0].set(taken, filled);
      filled += taken.length;
      if (taken.length < part.length) this.sounding.unshift(part.subarray(taken.length));
    }
    for (const channel of output.slice(1)) channel.set(output[0]);
  }
}

registerProcessor("duplex", Duplex);
