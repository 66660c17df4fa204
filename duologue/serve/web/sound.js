// The microphone or a file in, the reply out, by way of the worklet.

export const RATE = 24000;
export const BLOCK = 960; // samples; 40 ms

/** What went wrong with the microphone, in words for the user. */
export class SoundError extends Error {}

export class Sound {
  /** `onblock(heard, said, waiting)`: 40 ms of both voices, and how many samples of the reply wait to be played. */
  constructor(onblock) {
    this.onblock = onblock;
    this.onlost = () => {}; // the microphone was unplugged or taken away
  }

  /** Begin with the microphone, or without. */
  async open(microphone) {
    const stream = microphone ? await listen() : null;
    this.stream = stream;
    this.context = new AudioContext({ latencyHint: "interactive" });
    await this.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    this.node = new AudioWorkletNode(this.context, "duplex", { outputChannelCount: [2] });
    this.node.port.onmessage = ({ data }) => this.onblock(data.heard, data.said, data.waiting);
    this.node.connect(this.context.destination);
    if (stream) {
      this.source = this.context.createMediaStreamSource(stream);
      this.source.connect(this.node);
      stream.getAudioTracks()[0].onended = () => this.onlost();
    }
    await this.context.resume();
  }

  /** Let a file be heard as if it were spoken now, and audible to the user too; resolves when it is over. */
  async hear(file) {
    const buffer = await decode(this.context, file);
    const source = new AudioBufferSourceNode(this.context, { buffer });
    const mono = new GainNode(this.context, { channelCount: 1, channelCountMode: "explicit" });
    source.connect(mono).connect(this.node);
    mono.connect(this.context.destination);
    await new Promise((over) => {
      source.onended = over;
      source.start();
    });
    mono.disconnect();
  }

  /** Whether a microphone is heard. */
  get microphone() {
    return Boolean(this.stream);
  }

  play(samples) {
    this.node.port.postMessage({ play: samples }, [samples.buffer]);
  }

  /** No more of this reply will come: play the rest, however short. */
  finish() {
    this.node.port.postMessage({ whole: true });
  }

  /** Be silent now. */
  hush() {
    this.node.port.postMessage({ clear: true, whole: true });
  }

  mute(muted) {
    this.node.port.postMessage({ muted });
  }

  async close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.onblock = () => {};
    await this.context?.close();
  }
}

async function decode(context, file) {
  try {
    return await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new SoundError(`“${file.name}” holds no sound that this browser can read. WAV, MP3, Opus and AAC are fine.`);
  }
}

async function listen() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new SoundError("Browsers give the microphone only to pages on localhost or https. A file can be used here.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
    });
  } catch (error) {
    throw new SoundError(why(error));
  }
}

function why(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The microphone is blocked. Allow it in the browser's address bar and press Talk again, or use a file.";
    case "NotFoundError":
      return "There is no microphone. Plug one in and press Talk again, or use a file.";
    case "NotReadableError":
      return "Another program holds the microphone. Close it and press Talk again, or use a file.";
    default:
      return `The microphone failed (${error.message || error.name}). A file can be used instead.`;
  }
}
