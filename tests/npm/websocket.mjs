// A question over the WebSocket of @openai/agents-realtime; what came of it goes to standard output as JSON.
// node websocket.mjs URL KEY, the question as 16-bit PCM at 24 kHz on standard input.
import { setTimeout as sleep } from "node:timers/promises";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from "@openai/agents-realtime";

const [url, apiKey] = process.argv.slice(2);
const PIECE = 960; // bytes: 20 ms
const parts = [];
for await (const part of process.stdin) parts.push(part);
const question = Buffer.concat(parts);
const agent = new RealtimeAgent({ name: "test", instructions: "answer" });
const transport = new OpenAIRealtimeWebSocket({ url, useInsecureApiKey: true });
const session = new RealtimeSession(agent, { transport, tracingDisabled: true });
const errors = [];
const types = [];
const sound = [];
session.on("error", (error) => errors.push(error));
const waiting = new Map();
session.on("transport_event", ({ type }) => {
  types.push(type);
  waiting.get(type)?.();
});
session.on("audio", ({ data }) => sound.push(Buffer.from(data)));

const told = (type) => new Promise((done) => waiting.set(type, done));

async function ask() {
  for (let at = 0; at < question.length; at += PIECE) {
    session.sendAudio(new Uint8Array(question.subarray(at, at + PIECE)).buffer);
    await sleep(20);
  }
}

await session.connect({ apiKey });
const answered = told("response.done"); // when the sound has stopped, the history may still lack its words
await ask();
await answered;
const reply = Buffer.concat(sound).toString("base64");
const history = session.history.map(({ role, status, content }) => ({ role, status, content }));
const begun = new Promise((done) => session.once("audio", done));
const cut = told("conversation.item.truncated");
await ask();
await begun;
session.interrupt();
await cut;
session.close();
process.stdout.write(JSON.stringify({ errors, types, reply, history }), () => process.exit(0));
