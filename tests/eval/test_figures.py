"""Figures of hand-made rows, whose values and intervals are known."""

from __future__ import annotations

import pytest
from eval.toy import ToySuite

from duologue.eval.figures import ALL, figure, plain, sample, summarise, text, trials_of
from duologue.eval.metrics import Interval, share
from duologue.eval.suites.base import Measure, Row, Value

SHARE = Measure(name="hit", title="hits", kind="share", unit="%", scale=100)
TRIALS = Measure(name="hits", title="hits", kind="share", over="trials")
RATE = Measure(name="wer", title="WER", kind="ratio", of="errors", over="words", better="lower")
LATENCY = Measure(name="p50", title="latency", kind="median", of="latency", better="lower")
P90 = Measure(name="p90", title="latency", kind="p90", of="latency", better="lower")


def rows(*values: dict[str, Value]) -> list[Row]:
    return [
        Row(suite="toy", subject="me", family="tone", case=f"tone/{index}", values=dict(one))
        for index, one in enumerate(values)
    ]


FAILED = Row(suite="toy", subject="me", family="tone", case="tone/99", error="broke")


def test_a_share_of_cases_has_wilsons_interval() -> None:
    found = figure(rows({"hit": True}, {"hit": True}, {"hit": False}, {"hit": None}, {}), SHARE)
    assert found == share([True, True, False])


def test_a_failed_case_is_the_worse_outcome_of_a_share_and_nothing_else() -> None:
    held = rows({"hit": True, "latency": 0.3})
    lower = SHARE.model_copy(update={"better": "lower"})
    neither = SHARE.model_copy(update={"better": None})
    worst = [figure([*held, FAILED], measure) for measure in (SHARE, lower, neither)]
    assert [one.value for one in worst if one] == [0.5, 1.0, 1.0]
    late = figure([*held, FAILED], LATENCY)
    assert late is not None and (late.value, late.count) == (0.3, 1)
    assert figure([FAILED], LATENCY) is None


def test_trials_of_one_case_stay_together() -> None:
    alike = figure(rows(*[{"hits": 4, "trials": 4}, {"hits": 0, "trials": 4}] * 8), TRIALS)
    apart = share([True, False] * 32)
    assert alike is not None and alike.value == 0.5
    assert alike.high - alike.low > 1.5 * (apart.high - apart.low)
    sure = figure(rows(*[{"hits": 4, "trials": 4}] * 5), TRIALS)
    assert sure == share([True] * 5)  # all agree, yet five cases are only five
    assert figure(rows({"hits": 0, "trials": 0}), TRIALS) is None


def test_a_failed_case_weighs_as_many_trials_as_it_would_have_been() -> None:
    """A dialogue of four turns that broke off is four turns lost, as the same case or its family tells."""
    held = rows({"hits": 4, "trials": 4}, {"hits": 4, "trials": 4})
    failed = [FAILED, held[0].model_copy(update={"subject": "you", "error": "broke", "values": {}})]
    trials = trials_of([*held, *failed])
    assert [trials(row, TRIALS) for row in [*held, *failed]] == [1.0, 1.0, 4.0, 4.0]
    found = figure([held[1], failed[1]], TRIALS, trials=trials)
    assert found is not None and found.value == 0.5
    assert trials(FAILED, SHARE) == 1.0 and trials_of([FAILED])(FAILED, TRIALS) == 1.0


def test_a_row_may_hold_several_times_which_stay_together() -> None:
    some = rows({"latency": [0.1, 0.2, 0.9]}, {"latency": 0.3}, {"latency": None})
    middle, late = figure(some, LATENCY), figure(some, P90)
    assert middle is not None and (middle.value, middle.count) == (pytest.approx(0.25), 4)
    assert late is not None and late.value > 0.6  # of all times, not of each dialogue's median
    assert sample(some[0], LATENCY) == (0.2, 1.0) and sample(some[2], LATENCY) is None


def test_one_question_asked_under_many_conditions_is_one_question() -> None:
    """Eight questions, each right or wrong in all of its ten rows: as sure as of eight cases, not of eighty."""
    some = [
        row.model_copy(update={"family": f"noise-{time}", "case": f"noise-{time}/{row.case[-1]}"})
        for row in rows(*[{"hit": True, "latency": 0.2}, {"hit": False, "latency": 0.6}] * 4)
        for time in range(10)
    ]
    eight = share([True, False] * 4)
    for measure, width in ((SHARE, eight.high - eight.low), (LATENCY, 0.4)):
        kin = figure(some, measure, lambda row: row.case[-1])
        alone = figure(some, measure)
        assert kin is not None and alone is not None
        assert kin.value == alone.value and kin.count == alone.count == 80
        assert kin.high - kin.low == pytest.approx(width, rel=0.4)
    assert alone is not None
    hits = figure(some, SHARE)
    assert hits is not None and hits.high - hits.low < 0.5 * (eight.high - eight.low)
    sure = figure([row for row in some if row.values["hit"]], SHARE, lambda row: row.case[-1])
    assert sure is not None and (sure.low, sure.count) == (share([True] * 4).low, 40)


def test_rates_weigh_by_words_and_times_have_percentiles() -> None:
    rate = figure(rows({"errors": 1, "words": 1}, {"errors": 0, "words": 9}), RATE)
    assert rate is not None and rate.value == pytest.approx(0.1)
    times = rows(*({"latency": number / 10} for number in range(11)))
    middle, slow = figure(times, LATENCY), figure(times, P90)
    assert middle is not None and middle.value == pytest.approx(0.5) and middle.low < 0.5 < middle.high
    assert slow is not None and slow.value == pytest.approx(0.9)
    assert figure(times, LATENCY) == middle  # the same rows, the same interval


def test_a_summary_has_every_family_all_of_them_and_groups() -> None:
    values: dict[str, Value] = {"replied": True, "colour": "red"}
    some = [
        Row(suite="toy", subject=subject, family=family, case=f"{family}/0", values=values)
        for subject in ("me", "you")
        for family in ("tone", "silence")
    ]
    other = Row(suite="answers", subject="me", family="tone", case="tone/0", values=values)
    found = summarise([*some, FAILED, other], ToySuite)
    assert list(found.families) == ["me", "you"]
    assert list(found.families["me"]) == ["tone", "silence", ALL]
    mine = found.families["me"]
    broken = Row(suite="toy", subject="me", family="silence", case="silence/9", error="broke")
    unasked = [row.model_copy(update={"values": {"late": 0.1}}) if row.family == "silence" else row for row in some]
    lost = summarise([*unasked, broken], ToySuite).families["me"]
    assert "replied" not in lost["silence"].figures  # nobody is asked to reply there, so nobody fails to
    assert lost[ALL].figures["replied"].value == 1.0 and lost[ALL].failed == 1
    assert (mine["tone"].cases, mine["tone"].failed, mine["tone"].figures["replied"].value) == (2, 1, 0.5)
    assert mine[ALL].cases == 3 and "late" not in mine[ALL].figures
    assert found.groups["me"]["colour: red"].cases == 2
    written = plain({"toy": found})["toy"]
    assert isinstance(written, dict)
    assert written["families"]["me"]["tone"]["figures"]["replied"]["value"] == 0.5


def test_figures_are_printed_in_their_units() -> None:
    assert text(SHARE, Interval(0.5, 0.25, 0.75, 8)) == "50 [25, 75]"
    assert text(SHARE, None) == "-"
    assert text(LATENCY.model_copy(update={"digits": 2}), Interval(0.3, 0.3, 0.3, 1)) == "0.30"
