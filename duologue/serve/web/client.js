// The server's Realtime API over its WebSocket, with reconnection.

const SLOWEST = 8; // seconds between two attempts
const REFUSED = 5; // seconds at least to the next, where the server said no
const BACKLOG = 1 << 20; // unsent bytes from which sound is dropped: it would come too late anyway

export class Client {
  /**
   * `onevent(event)` takes every server event. `onstate(state, text)` is told "connecting", "open", "lost" (another
   * attempt follows), "key" (the server wants one) and "ended", each with a text for the user where there is something
   * to say.
   */
  constructor({ onevent, onstate }) {
    this.onevent = onevent;
    this.onstate = onstate;
    this.key = "";
    this.attempts = 0;
    addEventListener("online", () => this.retry && this.begin());
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** The models that are served: [{id, voices, summary}]; null: the server wants a key. */
  async models() {
    const answer = await fetch("v1/models", { headers: this.headers });
    if (answer.status === 401) return null;
    return (await answer.json()).data;
  }

  /** Whether the server says that it serves conversations late. */
  async behind() {
    try {
      return (await (await fetch("readyz")).json()).behind === true;
    } catch {
      return false; // whoever does not answer does not say so
    }
  }

  get headers() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  connect(model) {
    this.model = model;
    this.session = null;
    this.attempts = 0;
    this.onstate("connecting");
    return this.begin();
  }

  async begin() {
    clearTimeout(this.retry);
    this.retry = null;
    const attempt = (this.attempt = {});
    const protocols = ["realtime"];
    if (this.key) {
      const secret = await this.secret().catch(() => null);
      if (attempt !== this.attempt) return; // closed or begun anew meanwhile
      if (!secret) return this.refused("The server does not answer.");
      protocols.push(`openai-insecure-api-key.${secret}`);
    }
    const url = new URL("v1/realtime", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("model", this.model);
    if (this.session) url.searchParams.set("resume", this.session);
    const socket = new WebSocket(url, protocols);
    this.socket = socket;
    socket.onmessage = ({ data }) => socket === this.socket && this.take(JSON.parse(data));
    socket.onclose = (event) => socket === this.socket && this.lost(event);
  }

  /** A secret of a few minutes in place of the key, as not every key can be a subprotocol; undefined: it was refused. */
  async secret() {
    const answer = await fetch("v1/realtime/client_secrets", { method: "POST", headers: this.headers });
    return (await answer.json()).value;
  }

  take(event) {
    if (event.type === "session.created") {
      this.session = event.session.id;
      this.attempts = 0;
      this.onstate("open");
    }
    this.onevent(event);
  }

  lost({ code, reason }) {
    this.socket = null;
    if (code === 1001 || code === 1008) return this.onstate("ended", `The server ended the conversation: ${reason}.`);
    if (code === 1013) return this.again("All places are taken.", REFUSED);
    if (code === 1006) return this.refused("The connection was lost.");
    this.again("The connection was lost.");
  }

  /** A browser does not say why a WebSocket was refused, so the server is asked; `otherwise`: where it refuses nothing. */
  async refused(otherwise) {
    const attempt = this.attempt;
    const { status, error } = await this.knock();
    if (attempt !== this.attempt) return;
    switch (status) {
      case 401:
        return this.onstate("key");
      case 403:
        return this.onstate("ended", `The server does not let this page in: ${error}`);
      case 429:
        return this.again(`The server takes no more from you: ${error}`, REFUSED);
      case 503:
        return this.again(`The server takes nobody now: ${error}`, REFUSED);
    }
    this.again(otherwise);
  }

  /** The status with which the server answers whoever wants to come in, and what is wrong; 0: there is no server. */
  async knock() {
    try {
      const answer = await fetch("web/door", { method: "POST", headers: this.headers });
      if (answer.ok) return { status: answer.status };
      const body = await answer.json().catch(() => ({})); // what stands before the server may say it otherwise
      const error = body.error?.message ?? `HTTP ${answer.status}`;
      return { status: answer.status, error: error.replace(/\.?$/, ".") };
    } catch {
      return { status: 0 };
    }
  }

  again(why, least = 0) {
    const seconds = Math.max(least, Math.min(SLOWEST, 0.5 * 2 ** this.attempts++));
    this.onstate("lost", `${why} Trying again…`);
    this.retry = setTimeout(() => this.begin(), seconds * 1000);
  }

  send(event) {
    if (this.open) this.socket.send(JSON.stringify(event));
  }

  /** Send a block of the user's sound, float samples at 24 kHz; false where it could not go out. */
  hear(samples) {
    if (!this.open || this.socket.bufferedAmount > BACKLOG) return false;
    this.send({ type: "input_audio_buffer.append", audio: toBase64(samples) });
    return true;
  }

  close() {
    this.attempt = null;
    clearTimeout(this.retry);
    this.retry = null;
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
  }
}

/** Float samples to base64 of 16-bit little-endian ones. */
export function toBase64(samples) {
  const bytes = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((sample, index) => bytes.setInt16(2 * index, toInt16(sample), true));
  return btoa(String.fromCharCode(...new Uint8Array(bytes.buffer)));
}

export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, index) => view.getInt16(2 * index, true) / 32768);
}

export function toInt16(sample) {
  return Math.round(32767 * Math.max(-1, Math.min(1, sample)));
}
