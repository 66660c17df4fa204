"""Rows in a process of their own: they do what rows here do, and what ends one process never hangs the other."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from systems.simple import frames, write_tiny_model

from duologue.errors import ModelError
from duologue.systems import registry
from duologue.systems.base import Pcm, Timing
from duologue.systems.engine import Engine, Heard
from duologue.systems.process import ProcessRows, RowsLostError
from duologue.systems.rows import Rows, rows_of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def rows(tiny: Path) -> Iterator[ProcessRows]:
    rows = ProcessRows(str(tiny), 3)
    yield rows
    rows.close_all()


def said(rows: Rows, row: int, heard: list[Pcm]) -> list[tuple[bytes, list[object]]]:
    """What each step brought, the time that it took apart."""
    told = []
    for pcm in heard:
        reply = rows.step({row: pcm})[row]
        assert not isinstance(reply, Exception)
        told.append((reply.pcm.tobytes(), [event for event in reply.events if not isinstance(event, Timing)]))
    return told


def test_they_say_what_rows_of_this_process_say(rows: ProcessRows, tiny: Path) -> None:
    here = rows_of(registry.load(tiny), 3)
    assert (rows.card, rows.size) == (here.card, 3)
    for one in rows, here:
        one.open(1, 5)
        assert one.read(1, "what is two plus two")
    assert said(rows, 1, frames(30)) == said(here, 1, frames(30))
    assert rows.hush(1) == here.hush(1)
    assert said(rows, 1, frames(10, 1)) == said(here, 1, frames(10, 1))
    for _ in range(2):
        aloud, expected = rows.say("it is four", 1.5), here.say("it is four", 1.5)
        assert aloud is not None and expected is not None
        np.testing.assert_array_equal(list(aloud), list(expected))


def test_a_text_is_read_aloud_between_steps_that_come_one_upon_the_other(rows: ProcessRows, tiny: Path) -> None:
    expected = rows_of(registry.load(tiny), 1).say("it is four and a half", 1.0)
    assert expected is not None
    rows.open(0, 0)
    alone = said(rows, 0, frames(40))
    rows.open(0, 0)
    with ThreadPoolExecutor() as pool:
        aloud = pool.submit(rows.say, "it is four and a half", 1.0)
        assert said(rows, 0, frames(40)) == alone
        pieces = aloud.result(30)
    assert pieces is not None
    np.testing.assert_array_equal(list(pieces), list(expected))


def test_a_saved_conversation_goes_on_and_is_forgotten_with_its_ticket(rows: ProcessRows) -> None:
    rows.open(0, 1)
    whole = said(rows, 0, frames(20))
    rows.open(0, 1)
    assert said(rows, 0, frames(20)[:8]) == whole[:8]
    saved = rows.save(0)
    rows.open(0, 2)
    said(rows, 0, frames(5, 3))  # another conversation in the row that was left
    rows.restore(2, saved)
    assert said(rows, 2, frames(20)[8:]) == whole[8:]
    number = saved.number  # type: ignore[attr-defined]
    del saved
    gc.collect()
    rows.open(0, 0)  # which brings word of what nobody holds any more
    with pytest.raises(ModelError, match="KeyError"):
        rows._call("restore", 1, number)


def test_what_cannot_be_loaded_is_told_here(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.*no such folder"):
        ProcessRows(str(tmp_path / "nowhere"), 1)


def test_it_outlives_the_signals_of_a_terminal_and_ends_when_told(tiny: Path) -> None:
    before = set(multiprocessing.active_children())
    rows = ProcessRows(str(tiny), 1)
    rows.open(0, 0)
    (process,) = set(multiprocessing.active_children()) - before
    assert process.pid is not None
    for which in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, which)
    assert len(said(rows, 0, frames(3))) == 3
    rows.close_all()
    assert not process.is_alive()
    assert process.exitcode == 0


def test_its_death_fails_every_conversation_and_nothing_hangs(tiny: Path) -> None:
    before = set(multiprocessing.active_children())
    rows = ProcessRows(str(tiny), 2)
    (process,) = set(multiprocessing.active_children()) - before
    engine, heard = Engine(rows), list[Heard | Exception]()
    engine.start()
    slots = [engine.join(heard.append) for _ in range(2)]
    slots[0].push(frames(1)[0])
    _until(lambda: len(heard) == 1)
    process.kill()
    process.join()
    assert not engine.alive, "before anybody asked for a step"
    slots[0].push(frames(1)[0])
    _until(lambda: len(heard) == 3)
    assert [type(each) for each in heard[1:]] == [RowsLostError, RowsLostError], "also who did not step"
    for slot in slots:
        slot.leave()
    with pytest.raises(RowsLostError):
        engine.join(heard.append)
    engine.stop()
    rows.close_all()


def _until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not met():
        assert time.monotonic() < end
        time.sleep(0.01)
