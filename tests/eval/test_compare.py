"""Two runs with a known difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from eval.byhand import turns, write

from duologue.errors import DataError
from duologue.eval.compare import Change, change_of, compare, grid, told
from duologue.eval.results import append
from duologue.eval.suites.base import Measure, Row, Value

HIT = Measure(name="hit", title="hits", kind="share")
MISS = HIT.model_copy(update={"better": "lower"})
TIME = Measure(name="time", title="time", kind="median", better="lower")


def pairs(before: list[Value], after: list[Value], name: str = "hit") -> list[tuple[Row, Row]]:
    rows = [
        [Row(suite="s", subject="x", family="f", case=f"f/{n}", values={name: one}) for n, one in enumerate(several)]
        for several in (before, after)
    ]
    return list(zip(*rows, strict=True))


def test_mcnemar_counts_the_cases_that_changed() -> None:
    change = change_of(pairs([False] * 6 + [True] * 14, [True] * 20), HIT)
    assert change is not None and change.p == pytest.approx(2 * 0.5**6)
    assert change.verdict == "better" and (len(change.won), len(change.lost)) == (6, 0)
    assert change.difference.value == pytest.approx(0.3) and change.difference.low > 0
    back = change_of(pairs([True] * 20, [False] * 6 + [True] * 14), HIT)
    assert back is not None and back.verdict == "worse" and len(back.lost) == 6
    fewer = change_of(pairs([True] * 6 + [False] * 4, [False] * 10), MISS)
    assert fewer is not None and fewer.verdict == "better" and len(fewer.won) == 6


@pytest.mark.parametrize("measure", [HIT, TIME.model_copy(update={"name": "hit", "better": "higher"})])
def test_one_question_under_many_conditions_proves_as_much_as_one_question(measure: Measure) -> None:
    """Four questions of ten cases each, all of them better: forty cases would be sure of it, four can't be."""
    some = pairs([0.0] * 40, [1.0] * 40)
    apart = change_of(some, measure)
    assert apart is not None and apart.verdict == "better"
    together = change_of(some, measure, kin=lambda row: str(int(row.case[2:]) % 4))
    assert together is not None and together.verdict == "unchanged" and together.p >= 2 / 2**4 - 0.03
    assert together.difference.value == apart.difference.value and together.won == apart.won


def test_nothing_changed_is_unchanged() -> None:
    same = change_of(pairs([True, False, True], [True, False, True]), HIT)
    assert same is not None and (same.p, same.verdict) == (1.0, "unchanged")
    swapped = change_of(pairs([True, False], [False, True]), HIT)
    assert swapped is not None and swapped.verdict == "unchanged"
    assert change_of(pairs([None], [True]), HIT) is None


def test_pairing_finds_what_lies_under_the_spread_of_cases() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(1.0, 0.5, 40)
    after = before - 0.05 + rng.normal(0, 0.01, 40)
    change = change_of(pairs(list(before), list(after), "time"), TIME)
    assert change is not None and change.verdict == "better"
    assert change.difference.high < 0
    noise: Change | None = change_of(pairs(list(before), list(rng.permutation(before)), "time"), TIME)
    assert noise is not None and noise.verdict == "unchanged"


@pytest.mark.parametrize("kind", ["median", "mean", "p90"])
def test_few_cases_prove_nothing(kind: str) -> None:
    """However large a difference is: of n pairs that all changed alike, chance gives 2 of 2^n."""
    measure = TIME.model_copy(update={"kind": kind})
    for count in (1, 2, 4):
        change = change_of(pairs([1.0] * count, [9.0] * count, "time"), measure)
        assert change is not None and change.verdict == "unchanged"
        assert change.p >= 2 / 2**count - 0.03
    sure = change_of(pairs([1.0] * 12, [9.0 + n for n in range(12)], "time"), measure)
    assert sure is not None and sure.verdict == "worse"


def test_a_rate_is_swapped_with_its_weight() -> None:
    rate = Measure(name="wer", title="WER", kind="ratio", of="errors", over="words", better="lower")
    both = [
        [
            Row(suite="s", subject="x", family="f", case=f"f/{n}", values={"errors": wrong, "words": 10})
            for n in range(9)
        ]
        for wrong in (2, 1)
    ]
    change = change_of(list(zip(*both, strict=True)), rate)
    assert change is not None and change.verdict == "better"
    assert (change.before, change.after) == (pytest.approx(0.2), pytest.approx(0.1))
    assert change.p == pytest.approx(2 / 2**9, abs=0.003)


def test_two_runs_of_systems_by_any_name(tmp_path: Path) -> None:
    before = write(tmp_path / "a", "old", {"unseen-voices": turns(2, 20), "context": turns(3, 10)})
    after = write(tmp_path / "b", "new", {"unseen-voices": turns(20, 20), "context": turns(3, 10)})
    found = compare(before, after)
    changes = found.changes
    assert found.left_out == []
    verdicts = {(change.family, change.measure.name): change.verdict for change in changes}
    assert verdicts["unseen-voices", "right"] == "better" and verdicts["all", "right"] == "better"
    assert verdicts["context", "right"] == verdicts["all", "latency_p50"] == "unchanged"
    lines = told(changes)
    assert lines[0] == f"2 better, {len(changes) - 2} unchanged"
    assert any("better: answers right in text: unseen-voices/2, " in line and "and 8 more" in line for line in lines)
    assert grid(changes)[1][1:3] in (["10.0", "100.0"], ["16.7", "76.7"])
    with pytest.raises(DataError, match="split"):
        compare(before, write(tmp_path / "c", "new", {"context": turns(1, 1)}, split="test"))
    with pytest.raises(DataError, match="no case in common"):
        compare(write(tmp_path / "d", "x", {"context": []} | {"unseen-voices": turns(1, 1)}), write_context(tmp_path))
    with pytest.raises(DataError, match="holds no results"):
        compare(before, tmp_path / "nowhere")


def drawn(folder: Path, facts: dict[str, int], suite: str = "answers") -> None:
    """Write down what the cases of a run were drawn as."""
    for name, number in facts.items():
        known = {"family": name.partition("/")[0], "name": name, "seconds": {}, "facts": {"number": number}}
        (folder / "cases").mkdir(exist_ok=True)
        append(folder / "cases" / f"{suite}.jsonl", known)


def test_cases_that_were_drawn_otherwise_are_left_out(tmp_path: Path) -> None:
    before = write(tmp_path / "a", "old", {"context": turns(2, 20)})
    after = write(tmp_path / "b", "new", {"context": turns(20, 20)})
    drawn(before, {f"context/{n}": n for n in range(19)})  # the last one's process died before it was drawn
    drawn(after, {f"context/{n}": n if n < 15 else -n for n in range(20)})
    found = compare(before, after)
    (line,) = found.left_out
    assert line == ("answers: 4 of 20 cases are left out: their facts (cases/answers.jsonl) differ between the runs")
    right = next(change for change in found.changes if change.measure.name == "right")
    assert right.difference.count == 16 and right.before == pytest.approx(2 / 16)


def test_runs_of_other_cases_are_not_compared(tmp_path: Path) -> None:
    before = write(tmp_path / "a", "old", {"context": turns(2, 3)})
    other = write(tmp_path / "b", "new", {"context": turns(3, 3)})
    drawn(before, {f"context/{n}": n for n in range(3)})
    drawn(other, {f"context/{n}": n + 1 for n in range(3)})
    with pytest.raises(DataError, match=r"no case in common; answers: 3 of 3 cases are left out: their facts"):
        compare(before, other)
    mine = write(tmp_path / "c", "new", {"context": turns(3, 3)}, source="another folder")
    with pytest.raises(DataError, match="from different folders"):
        compare(before, mine)


def write_context(folder: Path) -> Path:
    return write(folder / "e", "x", {"context": turns(1, 1)})
