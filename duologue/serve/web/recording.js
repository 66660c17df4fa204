// The conversation as a stereo WAV: the user left, the model right, on one clock.

import { toInt16 } from "./client.js";
import { BLOCK, RATE } from "./sound.js";

const PART = 250; // blocks that make a part; parts lie in the browser's store, not in memory

export class Recording {
  constructor() {
    this.parts = [];
    this.blocks = [];
    this.bytes = 0;
  }

  push(heard, said) {
    const block = new DataView(new ArrayBuffer(4 * BLOCK));
    for (let index = 0; index < BLOCK; index++) {
      block.setInt16(4 * index, toInt16(heard[index]), true);
      block.setInt16(4 * index + 2, toInt16(said[index]), true);
    }
    this.blocks.push(block);
    this.bytes += block.byteLength;
    if (this.blocks.length === PART) this.parts.push(new Blob(this.blocks.splice(0)));
  }

  wav() {
    const header = new DataView(new ArrayBuffer(44));
    const text = (at, letters) => [...letters].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
    text(0, "RIFF");
    header.setUint32(4, 36 + this.bytes, true);
    text(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true); // PCM
    header.setUint16(22, 2, true); // channels
    header.setUint32(24, RATE, true);
    header.setUint32(28, 4 * RATE, true);
    header.setUint16(32, 4, true);
    header.setUint16(34, 16, true);
    text(36, "data");
    header.setUint32(40, this.bytes, true);
    return new Blob([header, ...this.parts, ...this.blocks], { type: "audio/wav" });
  }
}

/** Let the browser save a blob as a file. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
