"""Running suites: resumed, in processes, with failures told; cases as files and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from eval.toy import TONE, ToySuite

from duologue.audio.files import load_channels
from duologue.data.splits import Split
from duologue.errors import ConfigError, DataError
from duologue.eval.folder import CaseFolder, export
from duologue.eval.holder import Wanted
from duologue.eval.results import RESULTS, Settings, read_rows, read_settings
from duologue.eval.runner import drawn, run
from duologue.eval.suites.base import Row
from duologue.systems.base import SystemCard
from duologue.systems.floors import Echo, NeverTalk

TALKS = Wanted(ToySuite, ("tone", "silence"))


def hold(
    out: Path, wanted: Wanted = TALKS, cases: int | None = None, split: Split = "dev"
) -> tuple[Settings, list[Row]]:
    return run([Echo(), NeverTalk()], [wanted], out, split, cases, command="duologue eval echo never-talk")


def test_every_case_meets_every_system(tmp_path: Path) -> None:
    settings, rows = hold(tmp_path)
    assert [(row.subject, row.case) for row in rows] == [
        (subject, case) for subject in ("echo", "never-talk") for case in ("tone/0", "tone/1", "silence/0")
    ]
    assert [row.values["replied"] for row in rows] == [True, True, False, False, False, False]
    assert rows[0].values["late"] == pytest.approx(0.08 - 0.2, abs=0.01)
    heard = load_channels(tmp_path / str(rows[0].audio))
    assert heard.shape == (2, 15360) and np.abs(heard[1, 1280:4480] - TONE).max() < 1e-3
    facts = [json.loads(line) for line in (tmp_path / "cases" / "toy.jsonl").read_text().splitlines()]
    assert (
        len(facts) == 3
        and {"family": "tone", "name": "tone/1", "seconds": {"sound": 0.2}, "facts": {"number": 1}} in facts
    )
    assert settings.starts[0].command == "duologue eval echo never-talk" and settings.split == "dev"


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    _, whole = hold(tmp_path / "whole", cases=3)
    part = tmp_path / "part"
    hold(part, cases=1)
    results = part / RESULTS
    kept = results.read_text()
    results.write_text(kept + '{"suite": "toy", "subj')
    settings, resumed = hold(part, cases=3)
    assert resumed == whole == read_rows_in_order(part, resumed)
    assert results.read_text().startswith(kept)
    assert len(settings.starts) == 2


def read_rows_in_order(folder: Path, like: list[Row]) -> list[Row]:
    found = {(row.subject, row.case): row for row in read_rows(folder)}
    assert len(found) == len(like)
    return [found[row.subject, row.case] for row in like]


def test_failures_are_rows_and_are_tried_again(tmp_path: Path) -> None:
    _, rows = hold(tmp_path, Wanted(ToySuite, ("broken",)))
    assert [row.error for row in rows] == [None, "no luck with this one"] * 2
    assert rows[1].values == {}
    before = (tmp_path / RESULTS).read_text()
    hold(tmp_path, Wanted(ToySuite, ("broken",)))
    assert sorted((tmp_path / RESULTS).read_text().splitlines()) == sorted(before.splitlines())


def test_failures_that_are_not_tried_again_stay_on_record(tmp_path: Path) -> None:
    hold(tmp_path, Wanted(ToySuite, ("broken",)))
    _, rows = hold(tmp_path, Wanted(ToySuite, ("tone",)))
    assert sum(row.error is not None for row in rows) == 2 == sum(row.error is not None for row in read_rows(tmp_path))


def test_a_process_that_dies_takes_only_its_own_case_along(tmp_path: Path) -> None:
    wanted = [Wanted(ToySuite, ("tone", "fatal"))]
    _, rows = run([Echo()], wanted, tmp_path / "two", workers=2)
    _, alone = run([Echo()], wanted, tmp_path / "one")
    died = {row.case: row for row in rows}
    assert "process was killed" in str(died.pop("fatal/1").error)
    assert died == {row.case: row for row in alone if row.case != "fatal/1"}


def test_results_of_something_else_are_not_mixed_in(tmp_path: Path) -> None:
    hold(tmp_path)
    with pytest.raises(DataError, match="another split"):
        hold(tmp_path, split="test")
    settings = read_settings(tmp_path)
    assert settings is not None
    changed = settings.model_dump(mode="json")
    changed["subjects"]["echo"]["fingerprint"] = "other"
    (tmp_path / "settings.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match="another model called echo"):
        hold(tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(DataError, match=r"settings\.json: split"):
        hold(tmp_path)


def test_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no family 'riddles'"):
        hold(tmp_path, Wanted(ToySuite, ("riddles",)))
    with pytest.raises(ConfigError, match="no suite 'riddles'"):
        Wanted.parse("riddles")
    with pytest.raises(ConfigError, match="at least one system"):
        run([], [TALKS], tmp_path)
    hold(tmp_path)
    (tmp_path / RESULTS).write_text("{}\n")
    with pytest.raises(DataError, match=r"results\.jsonl:1"):
        hold(tmp_path)


def test_a_suite_may_be_given_again_for_other_families(tmp_path: Path) -> None:
    wanted = [Wanted(ToySuite, ("tone",)), Wanted(ToySuite, ("silence",)), Wanted(ToySuite, ("tone", "tone-long"))]
    settings, rows = run([Echo()], wanted, tmp_path)
    assert [row.case for row in rows] == ["tone/0", "tone/1", "silence/0", "tone-long/0", "tone-long/1"]
    assert list(settings.suites["toy"].families) == ["tone", "silence", "tone-long"]
    assert settings.suites["toy"].families["tone-long"] == "a long tone"
    _, more = run([Echo()], [Wanted(ToySuite), Wanted(ToySuite, ("tone-long",))], tmp_path / "all", cases=1)
    assert [row.family for row in more] == ["tone", "silence", "broken", "fatal", "tone-long"]
    export(drawn([TALKS], "dev")["toy"], tmp_path / "mine")
    with pytest.raises(ConfigError, match="toy is asked for with cases of two places"):
        run([Echo()], [TALKS, Wanted(ToySuite, folder=tmp_path / "mine")], tmp_path)


class Patient(ToySuite):
    default_cases = 4
    reference_cases = 2


class Mine(Echo):
    card = SystemCard(name="mine", hears=("features",))


def test_references_are_held_on_fewer_cases_unless_told(tmp_path: Path) -> None:
    wanted = [Wanted(Patient, ("tone",))]
    _, rows = run([Echo(), Mine()], wanted, tmp_path)
    assert [row.subject for row in rows] == ["echo"] * 2 + ["mine"] * 4
    _, rows = run([Echo(), Mine()], wanted, tmp_path, cases=3)
    assert [row.subject for row in rows] == ["echo"] * 3 + ["mine"] * 4


def test_exported_cases_are_held_as_if_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert export(drawn([TALKS], "dev")["toy"], folder) == 3
    _, rows = hold(tmp_path / "files", Wanted(ToySuite, folder=folder))
    _, direct = hold(tmp_path / "drawn")
    assert [(row.case, row.values) for row in rows] == [(row.case, row.values) for row in direct]
    _, one = hold(tmp_path / "one", Wanted(ToySuite, ("tone",), folder), cases=1)
    assert [row.case for row in one] == ["tone/0"] * 2
    with pytest.raises(DataError, match="other cases of toy"):
        hold(tmp_path / "drawn", Wanted(ToySuite, folder=folder))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "holds no case"),
        ('{"family": "a"}', r"cases\.jsonl:1: name"),
        ('\n{"family": "a", "name": "x"}\n{"family": "a", "name": "x"}', r"cases\.jsonl:3: .* twice"),
        ("{", r"cases\.jsonl:1: line"),
    ],
)
def test_a_malformed_folder_is_refused(lines: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text(lines)
    with pytest.raises(DataError, match=says):
        CaseFolder(tmp_path)
    with pytest.raises(DataError, match=r"no .*cases\.jsonl"):
        CaseFolder(tmp_path / "nowhere")
