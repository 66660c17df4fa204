"""The report of hand-made rows: self-contained, escaped, complete."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from duologue.audio.files import save
from duologue.eval.metrics import Interval
from duologue.eval.report.contents import contents
from duologue.eval.report.plots import axis
from duologue.eval.report.text import terminal_tables
from duologue.eval.report.timeline import mp3
from duologue.eval.report.write import write
from duologue.eval.results import Asked, Settings, Start, Subject, remember, write_rows
from duologue.eval.suites.base import Mark, Measure, Row
from duologue.systems.base import SystemCard

VOID = {"meta", "circle", "line", "path", "rect"}


class Balanced(HTMLParser):
    """Checks that every element is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card = SystemCard(name="x", summary="knows <nothing>", hears=("features",), parameters=1234)
    remember(
        tmp_path,
        Settings(
            split="dev",
            suites={"answers": Asked(source="", families={"unseen-voices": "new voices", "context": "dialogues"})},
            subjects={name: Subject(fingerprint="ab12", card=card) for name in ("box", "echo")},
            starts=[Start.now("duologue eval box echo")],
        ),
    )
    time = np.arange(32000) / 16000
    save(
        tmp_path / "talk.flac",
        np.stack((0.2 * np.sin(2000 * time) * (time < 1), 0.1 * np.sin(900 * time) * (time > 1))),
    )
    marks = [
        Mark(channel="user", start=0, end=1, label="what is <two> & two"),
        Mark(channel="system", start=1.0, end=2.0, label="four"),
    ]
    rows = [
        Row(
            suite="answers",
            subject=subject,
            family=family,
            case=f"{family}/{index}",
            values={
                **{"turns": 1, "right": subject == "box", "latency": 0.3, "category": "plus"},
                **{"question_words": 4, "question_errors": family == "context"},
                **{"wait_audio": 0.3, "wait_computing": 0.01 if subject == "box" else -0.5},
            },
            detail={"voice": "espeak/en", "turns": [{"user": "what is <two>", "said": "four", "latency": 0.3}]},
            marks=marks,
            audio="talk.flac" if index == 0 else None,
        )
        for subject in ("box", "echo")
        for family in ("unseen-voices", "context")
        for index in range(4)
    ]
    broken = Row(suite="answers", subject="echo", family="context", case="context/4", error="ran into <a wall>")
    write_rows(tmp_path, [*rows, broken])
    return tmp_path


def test_the_page_holds_all_it_needs(folder: Path) -> None:
    write(folder)
    page = (folder / "report.html").read_text()
    parser = Balanced()
    parser.feed(re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.S))
    assert parser.open == []
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "nothing is fetched"
    for text in ("what is &lt;two&gt; &amp; two", "ran into &lt;a wall&gt;", "knows &lt;nothing&gt;", "context/4"):
        assert text in page
    assert "100 <small>[68, 100]</small>" in page and "category: plus" in page
    assert page.count('class="line"') == 4  # of each family with each subject; floors are not heard
    assert page.count("data:audio/mpeg;base64,") == 2
    assert "duologue eval box echo" in page and "prefers-color-scheme: dark" in page


def test_what_a_reply_waits_for_is_one_bar_a_subject(folder: Path) -> None:
    write(folder)
    page = (folder / "report.html").read_text()
    bars = page[page.index("What a reply waits for") : page.index("Family by family")]
    box, echo = (bars[bars.index(f'"label">{name}<') :].split("</svg>")[0] for name in ("box", "echo"))
    assert "waits for more audio: 300 ms" in box and "waits for other computing: 10 ms" in box and ">310</text>" in box
    assert 'width="85.16%"' in box  # 300 of 310 ms, the longest bar, which leaves room for its sum
    assert 'width="0.00%"' in echo and ">-200</text>" in echo
    assert "waits for silence" not in bars  # nobody is a cascade here


def test_a_recogniser_s_own_error_stands_beside_what_rests_on_it(folder: Path) -> None:
    section = contents(folder).sections[0]
    right = next(measure for measure in section.measures if measure.name == "right")
    grid = section.by_family(right)
    assert grid[0][-1].startswith("WER of the questions")
    assert {line[0]: line[-1].split(" ")[0] for line in grid[1:3]} == {"unseen-voices": "0", "context": "25"}


def test_the_summary_says_the_same_in_text_and_for_programs(folder: Path) -> None:
    write(folder)
    text = (folder / "summary.md").read_text()
    assert "| right in text, % ↑ | 100 [68, 100] | 0 [0, 30] |" in text
    assert "| failed | 0 | 1 |" in text and "- answers context/4, echo: ran into <a wall>" in text
    found = json.loads((folder / "summary.json").read_text())
    cell = found["figures"]["answers"]["families"]["echo"]["context"]
    assert (cell["cases"], cell["failed"], cell["figures"]["right"]["count"]) == (5, 1, 5)
    assert found["failed"][0]["error"] == "ran into <a wall>"
    assert [table.title for table in terminal_tables(contents(folder))] == ["Answers: is the spoken reply right?"]


def test_a_lost_recording_is_said_and_stops_nothing(folder: Path) -> None:
    (folder / "talk.flac").unlink()
    write(folder)
    assert "cannot open" in (folder / "report.html").read_text()


def test_embedded_audio_is_the_conversation(tmp_path: Path) -> None:
    time = np.arange(16000) / 16000
    both = np.stack((0.5 * np.sin(2 * np.pi * 300 * time), np.zeros(16000))).astype(np.float32)
    path = tmp_path / "talk.mp3"
    path.write_bytes(mp3(both))
    heard, rate = soundfile.read(path)
    assert rate == 16000 and abs(len(heard) - 16000) < 3000 and len(path.read_bytes()) < 16000
    loudness = np.sqrt((heard**2).mean(0))
    assert loudness[0] > 0.3 and loudness[1] < 0.01


@pytest.mark.parametrize(
    ("low", "high", "scale", "ticks"),
    [
        (0.1, 0.9, 1, [0, 0.5, 1]),
        (-3.1, 0.4, 1, [-4, -3, -2, -1, 0, 1]),
        (0, 0, 1, [0, 0.5, 1]),
        (0.02, 1.3, 100, [0, 0.5, 1, 1.5]),
    ],
)
def test_axes_are_round_and_span_all(low: float, high: float, scale: float, ticks: list[float]) -> None:
    measure = Measure(name="x", title="x", kind="mean", scale=scale)
    found = axis([Interval(low, low, high, 3)], measure)
    assert found[0] <= low and found[-1] >= high and 3 <= len(found) <= 7
    assert set(ticks) <= {round(tick, 6) for tick in found}
