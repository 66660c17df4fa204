// Sample-rate conversion of a stream by windowed sinc interpolation, for any pair of rates.

const LOBES = 12; // zero crossings of the filter on each side
const PHASES = 256; // table entries between two of them

// The right half of a sinc under a Blackman window, cut off a little below half of the lower rate.
const TABLE = Float32Array.from({ length: LOBES * PHASES + 2 }, (_, index) => {
  const x = index / PHASES;
  if (x >= LOBES) return 0;
  const window = 0.42 + 0.5 * Math.cos((Math.PI * x) / LOBES) + 0.08 * Math.cos((2 * Math.PI * x) / LOBES);
  return (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)) * window;
});

export class Resampler {
  constructor(from, to) {
    this.same = from === to;
    this.step = from / to;
    this.cut = 0.94 * Math.min(1, to / from);
    this.reach = Math.ceil(LOBES / this.cut);
    this.input = new Float32Array(this.reach); // what the next output still needs, silence at first
    this.at = this.reach; // where the next output lies in it
  }

  /** The samples that are ready with these, Float32Array to Float32Array. */
  push(samples) {
    if (this.same) return samples;
    const input = new Float32Array(this.input.length + samples.length);
    input.set(this.input);
    input.set(samples, this.input.length);
    const ready = Math.max(0, Math.ceil((input.length - this.reach - this.at) / this.step));
    const output = new Float32Array(ready);
    for (let index = 0; index < ready; index++, this.at += this.step) output[index] = this.sample(input, this.at);
    const used = Math.max(0, Math.floor(this.at) - this.reach);
    this.input = input.slice(used);
    this.at -= used;
    return output;
  }

  sample(input, at) {
    let sum = 0;
    const last = Math.min(input.length - 1, Math.floor(at + this.reach));
    for (let index = Math.max(0, Math.ceil(at - this.reach)); index <= last; index++) {
      const place = Math.abs(index - at) * this.cut * PHASES;
      const entry = Math.floor(place);
      if (entry < LOBES * PHASES) {
        sum += input[index] * (TABLE[entry] + (place - entry) * (TABLE[entry + 1] - TABLE[entry]));
      }
    }
    return sum * this.cut;
  }
}
