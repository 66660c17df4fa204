"""OpenAI's agents for JavaScript, unchanged from npm: over a WebSocket in Node, over WebRTC in a browser.

`npm ci --prefix tests/npm` installs them; without it, or without Node or a Chromium, these tests skip.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from serve.conftest import KEY, pitch, serving, silence, tone
from systems.simple import Beeper

pytestmark = pytest.mark.browser
FOLDER = Path(__file__).parents[1] / "npm"
BUNDLE = FOLDER / "node_modules" / "@openai" / "agents-realtime" / "dist" / "bundle" / "openai-realtime-agents.umd.js"
QUESTION = Path(__file__).parents[2] / "examples" / "question.wav"
WAIT = 60_000  # milliseconds that a busy machine may take

CALL = """async ({ baseUrl, apiKey }) => {
  const { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession } = OpenAIAgentsRealtime;
  const peers = [];
  const transport = new OpenAIRealtimeWebRTC({
    baseUrl,
    changePeerConnection: (peer) => (peers.push(peer), peer),
  });
  const session = new RealtimeSession(new RealtimeAgent({ name: "test" }), { transport, tracingDisabled: true });
  const told = [];
  const errors = [];
  session.on("error", (error) => errors.push(String(error.error?.message ?? JSON.stringify(error))));
  const over = new Promise((done) => {
    session.on("transport_event", ({ type }) => {
      told.push(type);
      if (type === "output_audio_buffer.stopped") done();
    });
  });
  await session.connect({ apiKey });
  const { callId } = transport;
  await over;
  const reports = [...(await peers[0].getStats()).values()];
  const history = session.history.map(({ role, content }) => ({ role, content }));
  session.close();
  const { totalAudioEnergy: energy } = reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
  return { told, errors, history, callId, energy };
}"""


def beeper() -> Beeper:
    """Bears the gaps of a busy machine: it answers after 0.8 s of quiet, with 2 s of a beep."""
    return Beeper(quiet=10, beep=25)


@pytest.fixture(autouse=True)
def installed() -> None:
    if not BUNDLE.is_file():
        pytest.skip("no @openai/agents-realtime: npm ci --prefix tests/npm")


def test_over_a_websocket_in_node() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node is installed")
    with serving(beeper()) as served:
        line = [node, "websocket.mjs", f"{served.ws}/v1/realtime?model=beeper", KEY]
        sound = tone(0.8) + silence(1.2)
        done = subprocess.run(line, cwd=FOLDER, input=sound, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert seen["errors"] == []
    reply = base64.b64decode(seen["reply"])
    assert len(reply) / 48000 == pytest.approx(2, abs=0.1) and pitch(reply) == pytest.approx(440, abs=10)
    assert [(item["role"], item["content"][0]["transcript"]) for item in seen["history"]] == [
        ("user", "sound"),
        ("assistant", "beep"),
    ]
    assert "conversation.item.truncated" in seen["types"]  # the second reply was interrupted


def test_over_webrtc_in_a_browser() -> None:
    """The microphone plays a spoken question; the key is a short-lived one, as pages must not hold another."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: install duologue[browser]")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    microphone = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={QUESTION}%noloop",
    ]
    with serving(beeper()) as served, playwright.sync_playwright() as driver:
        headers = {"Authorization": f"Bearer {KEY}"}
        session = {"session": {"type": "realtime", "model": "beeper"}}
        secret = httpx2.post(f"{served.http}/v1/realtime/client_secrets", json=session, headers=headers).json()["value"]
        browser = driver.chromium.launch(executable_path=found, args=microphone)
        # The page is our own, for a browser to be of our origin; its policy would let no script of others in.
        page = browser.new_context(permissions=["microphone"], bypass_csp=True).new_page()
        page.set_default_timeout(WAIT)
        page.goto(f"http://localhost:{served.port}/")
        page.add_script_tag(path=BUNDLE)
        call = {"baseUrl": f"http://localhost:{served.port}/v1/realtime/calls", "apiKey": secret}
        seen = page.evaluate(CALL, call)
        browser.close()
    assert seen["errors"] == [] and seen["callId"].startswith("rtc_")
    assert {"session.updated", "output_audio_buffer.started", "response.done"} <= set(seen["told"])
    assert [(item["role"], item["content"][0]["transcript"]) for item in seen["history"]] == [
        ("user", "sound"),
        ("assistant", "beep"),
    ]
    assert seen["energy"] > 0.01
