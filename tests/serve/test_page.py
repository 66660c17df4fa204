"""The page in a real browser: Chromium without a window, a microphone that plays a file, a server on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import numpy as np
import pytest
import soundfile
from serve.conftest import KEY, Served, serving
from systems.simple import Beeper, BeeperConversation, Reader
from websockets.sync.client import connect

from duologue.serve.limits import Limits
from duologue.systems.base import Pcm, Reply
from duologue.systems.engine import Engine

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: install duologue[browser]")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
RATE = 48000
WAIT = 60_000  # milliseconds that a busy machine may take


def beeper() -> Beeper:
    """Bears the gaps of a busy machine: it answers after 0.8 s of quiet, with 4 s of a beep."""
    return Beeper(quiet=10, beep=50)


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.6 s of a tone of 300 Hz between quiet."""
    path = tmp_path_factory.mktemp("sounds") / "question.wav"
    time = np.arange(round(0.6 * RATE)) / RATE
    soundfile.write(path, np.pad(0.4 * np.sin(2 * np.pi * 300 * time), (RATE // 2, RATE // 2)), RATE, "PCM_16")
    return path


@contextmanager
def chromium(question: Path) -> Iterator[Browser]:
    """Chromium, whose microphone says the question once."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={question}%noloop",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser(question: Path) -> Iterator[Browser]:
    with chromium(question) as browser:
        yield browser


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(beeper(), keys=()) as served:
        yield served


@contextmanager
def page_of(browser: Browser) -> Iterator[Page]:
    """A page with a microphone; nothing may go wrong in its scripts, and nothing may come from elsewhere."""
    context = browser.new_context(permissions=["microphone"])
    page = context.new_page()
    page.set_default_timeout(WAIT)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("request", lambda asked: None if "//localhost:" in asked.url else wrong.append(asked.url))
    yield page
    context.close()
    assert not wrong


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with page_of(browser) as page:
        yield page


def visit(page: Page, served: Served) -> None:
    page.goto(f"http://localhost:{served.port}/")
    page.locator("#model option").wait_for(state="attached")


def hears(page: Page, state: str) -> None:
    page.locator(f"#status[data-state={state}]").wait_for()


def answered(page: Page) -> None:
    """The question is heard and a reply is audible."""
    page.locator(".turn.you", has_text="sound").last.wait_for()
    page.locator(".turn.model", has_text="beep").filter(has_text="after").last.wait_for()


def test_a_question_into_the_microphone_is_answered_shown_and_kept(page: Page, served: Served, tmp_path: Path) -> None:
    visit(page, served)
    page.get_by_role("button", name="Talk").click()
    answered(page)
    hears(page, "speaking")
    hears(page, "listening")
    page.get_by_role("button", name="End").click()
    hears(page, "idle")
    for button, name in (("Download sound", "talk.wav"), ("Download words", "talk.json")):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        download.value.save_as(tmp_path / name)
    sound, rate = soundfile.read(tmp_path / "talk.wav")
    assert rate == 24000 and sound.shape[1] == 2
    told = json.loads((tmp_path / "talk.json").read_text())
    assert (told["model"], told["voice"], told["sound"]["seconds"]) == ("beeper", "beep", len(sound) / rate)
    you, model = told["turns"]
    assert (you["who"], you["text"], model["who"], model["text"]) == ("you", "sound", "model", "beep")
    question, reply = (np.flatnonzero(np.abs(channel) > 0.05) / rate for channel in sound.T)
    assert you["start"] == pytest.approx(question[0], abs=0.05)
    assert model["start"] == pytest.approx(reply[0], abs=0.05)
    assert model["latency"] == pytest.approx(reply[0] - question[-1], abs=0.1)
    for channel, hertz in zip(sound.T, (300, 440), strict=True):
        spectrum = np.abs(np.fft.rfft(channel))
        assert abs(np.argmax(spectrum) * rate / len(channel) - hertz) < 5
    assert not model["interrupted"] and told["connection_lost"] == []


def test_a_file_takes_the_microphones_place_and_speech_cuts_a_reply_off(
    page: Page, served: Served, question: Path
) -> None:
    visit(page, served)
    page.locator("#file").set_input_files(question)
    answered(page)
    hears(page, "speaking")
    page.locator("#file").set_input_files(question)
    page.locator(".turn.model", has_text="interrupted").wait_for()
    page.locator(".turn.model:not(:has-text('interrupted'))", has_text="after").wait_for()  # and is answered again
    page.keyboard.press("Escape")  # so does the user by a key
    page.locator(".turn.model", has_text="interrupted").nth(1).wait_for()
    hears(page, "listening")


def test_an_example_is_heard_without_a_microphone_and_the_page_says_what_is_seen(
    browser: Browser, served: Served
) -> None:
    context = browser.new_context(permissions=[])
    page = context.new_page()
    page.set_default_timeout(WAIT)
    visit(page, served)
    assert "as they are heard and said" in page.locator("#tip").inner_text()
    page.keyboard.press("Tab")  # nothing to look back at yet: the first thing that a key reaches begins a talk
    page.keyboard.press("Enter")
    hears(page, "listening")
    assert page.locator("#status").inner_text() == "Listening to files"
    page.locator(".turn.you", has_text="sound").last.wait_for()
    page.locator("#status", has_text="beeper speaks").wait_for()
    page.locator(".turn.model", has_text="answered after").wait_for()
    assert not page.locator("#tip").is_visible()
    assert page.locator("#timeline").get_attribute("tabindex") == "0"
    context.close()


def test_a_question_can_be_written(browser: Browser, served: Served, tmp_path: Path) -> None:
    context = browser.new_context(permissions=[])
    page = context.new_page()
    page.set_default_timeout(WAIT)
    with serving(Reader(quiet=3, beep=50), keys=()) as reader:
        visit(page, reader)
        page.get_by_label("Write to the model").fill("  what time is it ")
        page.keyboard.press("Enter")  # begins a conversation without a microphone
        page.locator(".turn.you", has_text="what time is it").wait_for()
        page.locator(".turn.model", has_text="beep").filter(has_text="answered after").wait_for()
        hears(page, "speaking")
        page.get_by_label("Write to the model").fill("what time is it")
        page.get_by_role("button", name="Ask").click()  # cuts the reply off
        page.locator(".turn.model", has_text="interrupted").wait_for()
        page.locator(".turn.model:not(:has-text('interrupted'))", has_text="after").wait_for()
        assert not page.get_by_role("alert").is_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download words").click()
        download.value.save_as(tmp_path / "talk.json")
        turns = json.loads((tmp_path / "talk.json").read_text())["turns"]
        assert [turn["who"] for turn in turns] == ["you", "model", "you", "model"]
        assert turns[0]["text"] == "what time is it"
    visit(page, served)
    page.get_by_label("Write to the model").fill("hello")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("takes no text").wait_for()
    context.close()


def test_mute_is_a_key_and_is_told(page: Page, served: Served) -> None:
    visit(page, served)
    page.get_by_role("button", name="Talk").click()
    hears(page, "listening")
    page.keyboard.press("m")
    hears(page, "muted")
    assert page.get_by_role("button", name="Mute").get_attribute("aria-pressed") == "true"


def test_a_conversation_goes_on_when_the_server_is_back(page: Page, question: Path, tmp_path: Path) -> None:
    with serving(beeper(), keys=()) as served:
        visit(page, served)
        page.get_by_role("button", name="Talk").click()
        hears(page, "listening")
    hears(page, "lost")
    assert "Trying again" in page.get_by_role("alert").inner_text()
    with serving(beeper(), keys=(), port=served.port):
        hears(page, "listening")
        assert not page.get_by_role("alert").is_visible()
        turns = page.locator(".turn.model").count()
        page.locator("#file").set_input_files(question)
        page.locator(".turn.model").nth(turns).wait_for()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download words").click()
        download.value.save_as(tmp_path / "talk.json")
        (lost,) = json.loads((tmp_path / "talk.json").read_text())["connection_lost"]
        assert lost["end"] > lost["start"]


def test_a_refusal_is_told_in_its_own_words(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(beeper(), Limits(sessions_per_key=1), keys=()) as served:
        alert = page.get_by_role("alert")
        with connect(f"{served.ws}/v1/realtime"):
            visit(page, served)
            page.get_by_role("button", name="Talk").click()
            alert.filter(has_text="takes no more from you: this key already has 1 sessions").wait_for()
            assert "lost" not in alert.inner_text() and "Trying again" in alert.inner_text()
        hears(page, "listening")  # there is a place now
        assert not alert.is_visible()
        page.get_by_role("button", name="End").click()
        monkeypatch.setattr(served.server.keys, "welcomes", lambda headers: False)
        page.get_by_role("button", name="Talk").click()
        alert.filter(has_text="does not let this page in: Pages of this origin may not").wait_for()
        hears(page, "idle")


def test_a_server_that_drains_or_is_full_says_so(page: Page) -> None:
    with serving(beeper(), Limits(drain=60), slots=1, keys=()) as served:
        alert = page.get_by_role("alert")
        with connect(f"{served.ws}/v1/realtime") as other:
            other.recv()
            visit(page, served)
            page.get_by_role("button", name="Talk").click()
            alert.filter(has_text="All places are taken").wait_for()
            served.end()
            alert.filter(has_text="takes nobody now: The server is about to stop").wait_for()


def test_a_latency_is_true_in_a_noisy_room(page: Page, tmp_path: Path) -> None:
    time = np.arange(5 * RATE) / RATE
    room = 0.06 * np.random.default_rng(0).uniform(-1, 1, len(time))
    question = room + 0.4 * np.sin(2 * np.pi * 300 * time) * (abs(time - 3.3) < 0.3)
    soundfile.write(tmp_path / "noisy.wav", np.concatenate((question, room)), RATE, "PCM_16")
    with serving(Hardened(quiet=10, beep=20), keys=()) as served:
        visit(page, served)
        page.locator("#file").set_input_files(tmp_path / "noisy.wav")
        page.locator(".turn.model", has_text="answered after").wait_for()
        hears(page, "speaking")
        hears(page, "listening")
        page.get_by_role("button", name="End").click()
        for button, name in (("Download sound", "talk.wav"), ("Download words", "talk.json")):
            with page.expect_download() as download:
                page.get_by_role("button", name=button).click()
            download.value.save_as(tmp_path / name)
    sound, rate = soundfile.read(tmp_path / "talk.wav")
    you, model = json.loads((tmp_path / "talk.json").read_text())["turns"]
    asked, reply = (np.flatnonzero(np.abs(channel) > 0.2) / rate for channel in sound.T)
    assert you["start"] == pytest.approx(asked[0], abs=0.1)
    assert model["latency"] == pytest.approx(reply[0] - asked[-1], abs=0.1)


class Hardened(Beeper):
    """Hears nothing but what is louder than a noisy room."""

    def open(self, seed: int = 0) -> HardenedConversation:
        return HardenedConversation(self.card, *self.times)


class HardenedConversation(BeeperConversation):
    def _answer(self, pcm: Pcm) -> Reply:
        return super()._answer(pcm if np.abs(pcm).max() > 0.2 else np.zeros_like(pcm))


def test_a_server_that_is_behind_is_told_of_where_a_reply_is_long_in_coming(
    page: Page, question: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "lateness", 0.5)
    with serving(Beeper(quiet=50, beep=50), keys=()) as served:
        visit(page, served)
        page.locator("#file").set_input_files(question)
        page.get_by_role("alert").filter(has_text="The server is behind").wait_for()


def test_without_a_microphone_the_page_says_what_to_do(browser: Browser, served: Served) -> None:
    context = browser.new_context(permissions=[])
    page = context.new_page()
    visit(page, served)
    page.get_by_role("button", name="Talk").click()
    alert = page.get_by_role("alert")
    alert.filter(has_text="microphone").wait_for(timeout=WAIT)
    assert "use a file" in alert.inner_text() and page.locator("#status").inner_text() == "Ready"
    context.close()


def test_what_is_no_sound_is_told(page: Page, served: Served, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no sound")
    visit(page, served)
    page.locator("#file").set_input_files(tmp_path / "notes.txt")
    page.get_by_role("alert").filter(has_text="notes.txt").wait_for()
    hears(page, "idle")


def test_a_key_is_asked_for_and_used(page: Page, question: Path) -> None:
    with serving(beeper(), keys=(KEY,)) as served:
        page.goto(f"http://localhost:{served.port}/")
        page.get_by_label("This server asks for a key").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").filter(has_text="does not know this key").wait_for()
        page.get_by_label("This server asks for a key").fill(KEY)
        page.keyboard.press("Enter")
        page.locator("#model option").wait_for(state="attached")
        page.locator("#file").set_input_files(question)
        answered(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_is_used_by_keyboard(browser: Browser, served: Served, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    visit(page, served)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 384) == (scheme == "light")
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    controls = ["example", "talk", "upload", "model", "voice"]
    assert [name for name in dict.fromkeys(reached) if name in controls] == controls
    context.close()


CALL = """async () => {
  const peer = new RTCPeerConnection();
  const ear = new Audio();
  peer.ontrack = ({ track }) => {
    ear.srcObject = new MediaStream([track]);
    ear.play();
  };
  const context = new AudioContext();
  await context.resume();
  const mouth = context.createMediaStreamDestination();
  peer.addTrack(mouth.stream.getAudioTracks()[0], mouth.stream);
  const ask = () => {
    const tone = new OscillatorNode(context, { frequency: 300 });
    tone.connect(mouth);
    tone.start();
    tone.stop(context.currentTime + 0.6);
  };
  const channel = peer.createDataChannel("oai-events");
  const told = [];
  const over = new Promise((done) => {
    setTimeout(done, 60_000);
    channel.onmessage = ({ data }) => {
      told.push(JSON.parse(data).type);
      if (told.at(-1) === "session.created") ask();
      if (told.at(-1) === "output_audio_buffer.stopped") done();
    };
  });
  await peer.setLocalDescription(await peer.createOffer());
  const headers = { "Content-Type": "application/sdp" };
  const answer = await fetch("v1/realtime/calls", { method: "POST", headers, body: peer.localDescription.sdp });
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  await over;
  const reports = [...(await peer.getStats()).values()];
  peer.close();
  return { told, energy: reports.find(({ type }) => type === "inbound-rtp").totalAudioEnergy };
}"""


def test_a_browser_calls_over_webrtc(page: Page, served: Served) -> None:
    visit(page, served)
    call = page.evaluate(CALL)
    assert {"session.created", "output_audio_buffer.started", "response.done"} <= set(call["told"])
    assert call["energy"] > 0.01


def test_the_page_comes_with_headers_that_keep_others_out(served: Served) -> None:
    answer = httpx2.get(f"{served.http}/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "microphone=(self)" in answer.headers["permissions-policy"]
    again = httpx2.get(f"{served.http}/", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx2.get(f"{served.http}/web/worklet.js").headers["content-type"].startswith("text/javascript")
    assert httpx2.get(f"{served.http}/web/../app.py").status_code == 404
