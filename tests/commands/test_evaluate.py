"""`duologue eval` from the command line: a small report, its gate, two runs compared, cases as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duologue import cli
from duologue.data.voices import voices

pytestmark = pytest.mark.skipif(not voices("flite") or not voices("espeak"), reason="needs flite and espeakng-loader")

SMALL = ["--suite", "answers.unseen-voices", "--cases", "1", "--workers", "1"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "report"
    assert cli.main(["eval", "oracle", "never-talk", *SMALL, "--out", str(out)]) == 0
    return out


def test_a_report_says_who_is_better(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads((report / "summary.json").read_text())["figures"]["answers"]["families"]
    right = {name: cells["unseen-voices"]["figures"]["right"]["value"] for name, cells in found.items()}
    assert right == {"oracle": 1.0, "never-talk": 0.0}
    assert 'class="line"' in (report / "report.html").read_text()  # no sound: both are there to be compared with
    assert len((report / "results.jsonl").read_text().splitlines()) == 2


def test_the_gate_decides_the_exit_code(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ["eval", "oracle", "never-talk", *SMALL, "--out", str(report)]
    assert cli.main([*again, "--fail-under", "answers.right=100"]) == 0
    capsys.readouterr()
    assert cli.main([*again, "--fail-under", "answers.latency_p50=0.01"]) == 1
    assert "oracle: answers.latency_p50 is 0.2" in capsys.readouterr().err


def test_a_run_in_which_a_case_failed_fails_when_all_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, out = tmp_path / "mine", tmp_path / "report"
    assert cli.main(["eval", *SMALL, "--export", str(mine)]) == 0
    with (mine / "answers" / "cases.jsonl").open("a") as cases:
        cases.write('{"family": "mine", "name": "mine/mute", "facts": {"turns": [{"reply": "yes"}]}}\n')
    asked = ["eval", "never-talk", "--suite", f"answers={mine / 'answers'}", "--workers", "1", "--out", str(out)]
    capsys.readouterr()
    assert cli.main([*asked, "--fail-under", "answers.right=100"]) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (
        len(err) == 1 and f"1 of 2 cases failed; {out / 'summary.md'} lists them; never-talk: answers.right" in err[0]
    )
    assert "mine/mute, never-talk: case mine/mute needs a turn" in (out / "summary.md").read_text()
    assert (out / "report.html").is_file()


def test_two_runs_are_compared(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "--compare", str(report), str(report)]) == 0
    assert "unchanged" in capsys.readouterr().out


def test_cases_are_exported_and_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [*SMALL, "--suite", "answers.seen-voices", "--suite", "memory.long-90"]
    assert cli.main(["eval", *both, "--export", str(tmp_path / "mine")]) == 0
    out = capsys.readouterr().out
    assert "wrote 2 cases" in out and "wrote 1 cases" in out
    assert '"minutes": 90' in (tmp_path / "mine" / "memory" / "cases.jsonl").read_text()
    wanted = ["--suite", f"answers={tmp_path / 'mine' / 'answers'}", "--out", str(tmp_path / "report")]
    assert cli.main(["eval", "never-talk", *wanted, "--workers", "1"]) == 0
    rows = (tmp_path / "report" / "results.jsonl").read_text()
    assert "unseen-voices/0" in rows and "seen-voices/0" in rows


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["eval"], "name at least one system"),
        (["eval", "box", "--split", "train"], "no split 'train'"),
        (["eval", "box", "--suite", "riddles"], "no suite 'riddles'"),
        (["eval", "echo", "--suite", "duplex.soak-x"], "no family 'soak-x'"),
        (["eval", "box", "--speech", "/nowhere"], "no folder"),
        (["eval", "--compare", "/nowhere", "/nowhere"], "holds no results"),
        (["eval", "box", "--fail-under", "answers.wright=80"], "no figure of 'wright'"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 1
    err = capsys.readouterr().err
    assert says in err and len(err.strip().splitlines()) == 1
