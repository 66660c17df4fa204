"""The engine: side by side as alone; clients that are late, early, leave, fail, and come back."""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from systems.simple import Beeper, BeeperConversation, frames, write_tiny_model

from duologue.errors import AudioError
from duologue.systems import registry
from duologue.systems.base import Conversation, Pcm, Reply, System, SystemCard, Timing
from duologue.systems.engine import Engine, EngineFullError, Heard, SlotLostError
from duologue.systems.native import NativeSystem
from duologue.systems.rows import SingleRows, rows_of

SILENCE = np.zeros(1280, np.float32)
LOUD = np.full(1280, 0.1, np.float32)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> System:
    return registry.load(write_tiny_model(tmp_path_factory.mktemp("tiny")))


@contextmanager
def running(system: System, slots: int = 4, buffer: float = 30.0) -> Iterator[Engine]:
    engine = Engine(rows_of(system, slots), buffer)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        assert not engine.alive


class Ears:
    """Keeps what an engine tells about one slot."""

    def __init__(self) -> None:
        self.told: queue.Queue[Heard | Exception] = queue.Queue()

    def __call__(self, told: Heard | Exception) -> None:
        self.told.put(told)

    def hear(self, count: int) -> list[Heard]:
        heard = [self.told.get(timeout=20) for _ in range(count)]
        assert all(isinstance(each, Heard) for each in heard)
        return heard  # type: ignore[return-value]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def told(reply: Reply) -> list[object]:
    return [event for event in reply.events if not isinstance(event, Timing)]


@pytest.mark.parametrize("kind", ["native", "beeper"])
def test_conversations_side_by_side_equal_conversations_alone(kind: str, native: System) -> None:
    system = native if kind == "native" else Beeper()
    alone = []
    for seed in range(3):
        with system.open(seed) as conversation:
            alone.append([conversation.step(frame) for frame in frames(20, seed)])
    with running(system) as engine:
        ears = [Ears() for _ in range(3)]
        slots = [engine.join(each, seed) for seed, each in enumerate(ears)]
        for turn in zip(*(frames(20, seed) for seed in range(3)), strict=True):
            for slot, frame in zip(slots, turn, strict=True):
                assert slot.push(frame)
        for each, expected in zip(ears, alone, strict=True):
            for heard, reply in zip(each.hear(20), expected, strict=True):
                np.testing.assert_allclose(heard.reply.pcm, reply.pcm, atol=1e-5)
                assert told(heard.reply) == told(reply)
        assert engine.statistics.frames == 60
        assert engine.statistics.silences == 0


def test_a_late_client_is_given_silence_only_while_its_conversation_runs() -> None:
    with running(Beeper()) as engine:
        ears = Ears()
        slot = engine.join(ears)
        slot.push(LOUD)
        ears.hear(1)
        time.sleep(0.3)
        assert ears.told.empty()
        slot.run(fills=True)
        heard = ears.hear(4)
        assert all(each.silence for each in heard)
        kinds = [event.kind for each in heard for event in told(each.reply)]  # type: ignore[attr-defined]
        assert "reply_started" in kinds
        slot.run(fills=False)


def test_an_early_client_is_buffered_to_a_limit_and_then_refused() -> None:
    with running(Beeper(), buffer=0.8) as engine:
        ears = Ears()
        slot = engine.join(ears)
        taken = sum(slot.push(SILENCE) for _ in range(100))
        assert 10 <= taken < 30
        assert engine.statistics.refused == 100 - taken
        ears.hear(taken)
        assert slot.push(SILENCE)


def test_slots_are_given_out_once_and_come_back() -> None:
    with running(Beeper(), slots=2) as engine:
        first, second = engine.join(Ears()), engine.join(Ears())
        with pytest.raises(EngineFullError, match="all 2 slots"):
            engine.join(Ears())
        first.leave()
        first.leave()
        assert engine.taken == 1
        third = engine.join(Ears())
        first.leave()  # a slot that was left is no longer its own
        assert engine.taken == 2
        second.leave()
        third.leave()
        assert engine.taken == 0


@pytest.mark.parametrize("kind", ["native", "beeper"])
def test_whoever_comes_next_finds_nothing_of_the_one_before(kind: str, native: System) -> None:
    system = native if kind == "native" else Beeper()
    with system.open(5) as conversation:
        alone = [conversation.step(frame) for frame in frames(10, 5)]
    with running(system, slots=1) as engine:
        ears = Ears()
        slot = engine.join(ears, 3)
        for frame in frames(13, 3):
            slot.push(frame)
        ears.hear(13)
        slot.leave()
        slot = engine.join(ears, 5)
        for frame in frames(10, 5):
            slot.push(frame)
        for heard, reply in zip(ears.hear(10), alone, strict=True):
            np.testing.assert_allclose(heard.reply.pcm, reply.pcm, atol=1e-5)


@pytest.mark.parametrize("kind", ["native", "beeper"])
def test_a_parked_conversation_goes_on_in_another_slot(kind: str, native: System) -> None:
    system = native if kind == "native" else Beeper()
    with system.open() as conversation:
        alone = [conversation.step(frame) for frame in frames(20, 1)]
    with running(system) as engine:
        ears = Ears()
        slot = engine.join(ears)
        for frame in frames(20, 1)[:9]:
            slot.push(frame)
        heard = ears.hear(9)
        saved = slot.park()
        assert engine.taken == 0
        engine.join(Ears(), seed=8)
        slot = engine.join(ears, saved=saved)
        for frame in frames(20, 1)[9:]:
            slot.push(frame)
        heard += ears.hear(11)
        for each, reply in zip(heard, alone, strict=True):
            np.testing.assert_allclose(each.reply.pcm, reply.pcm, atol=1e-5)
            assert told(each.reply) == told(reply)


def test_rows_that_come_go_and_pause_at_random_are_as_alone(native: System) -> None:
    rng = np.random.default_rng(3)
    rows = rows_of(native, 9)
    alone: dict[int, Conversation] = {}
    for count in range(60):
        for row in range(9):
            if row not in alone and rng.random() < (0.3 if count < 40 else 0.02):
                alone[row] = native.open(count)
                rows.open(row, count)
            elif row in alone and rng.random() < (0.02 if count < 40 else 0.2):
                alone.pop(row).close()
                rows.close(row)
        heard = {row: frame for row, frame in enumerate(frames(9, count)) if row in alone and rng.random() < 0.4}
        if not heard:
            continue
        for row, reply in rows.step(heard).items():
            assert isinstance(reply, Reply)
            expected = alone[row].step(heard[row])
            np.testing.assert_allclose(reply.pcm, expected.pcm, atol=1e-5)
            assert told(reply) == told(expected)


def test_a_native_reply_is_hushed_at_once_and_the_other_rows_go_on(native: System) -> None:
    rows = rows_of(native, 2)
    rows.open(0, 0)
    rows.open(1, 0)
    for frame in frames(200, 0):
        replies = rows.step({0: frame, 1: frame})
        first, second = replies[0], replies[1]
        assert isinstance(first, Reply) and isinstance(second, Reply)
        np.testing.assert_allclose(first.pcm, second.pcm, atol=1e-5)
        if any(event.kind == "reply_started" for event in first.events) and "reply_ended" not in {
            event.kind for event in first.events
        }:
            break
    else:
        pytest.fail("this seed speaks")
    assert rows.hush(0)
    assert not any(event.kind == "interrupted" for event in rows.step({0: SILENCE})[0].events)  # type: ignore[union-attr]
    assert np.abs(rows.step({1: SILENCE})[1].pcm).max() > 0  # type: ignore[union-attr]


def test_clients_that_leave_at_any_moment_do_not_stop_the_engine(native: System) -> None:
    def hurry(engine: Engine) -> None:
        for _ in range(40):
            slot = engine.join(Ears())
            slot.push(LOUD)
            slot.push(LOUD)
            slot.drop(2)
            slot.push(LOUD)
            slot.leave()

    with running(native) as engine:
        threads = [threading.Thread(target=hurry, args=(engine,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ears = Ears()
        engine.join(ears).push(SILENCE)
        ears.hear(1)
        assert engine.taken == 1


class Fragile(System):
    """Fails on a frame that is all ones."""

    card = SystemCard(name="fragile", hears=("features",))

    def open(self, seed: int = 0) -> Conversation:
        return FragileConversation(self.card)


class FragileConversation(Conversation):
    def _answer(self, pcm: Pcm) -> Reply:
        if pcm.all():
            raise AudioError("too much")
        return Reply(pcm)


def test_a_conversation_that_fails_is_ended_and_the_others_go_on() -> None:
    with running(Fragile()) as engine:
        ears, others = Ears(), Ears()
        slot, other = engine.join(ears), engine.join(others)
        slot.push(LOUD)
        assert isinstance(ears.told.get(timeout=20), AudioError)
        until(lambda: engine.taken == 1)
        other.push(SILENCE)
        others.hear(1)
        assert engine.statistics.failures == 1
        engine.join(ears).push(SILENCE)
        ears.hear(1)


def test_a_slot_that_was_left_touches_nobody_elses_conversation(native: System) -> None:
    with running(native, slots=1) as engine:
        gone = engine.join(Ears())
        assert gone.read("one")
        gone.leave()
        ears = Ears()
        slot = engine.join(ears)
        assert not gone.hush()
        assert not gone.read("two")
        slot.push(SILENCE)
        ears.hear(1)
        assert slot.read("three")


class Stuck(Fragile):
    """Fails like it, but not before it is let."""

    def __init__(self) -> None:
        self.stepped, self.let = threading.Event(), threading.Event()

    def open(self, seed: int = 0) -> Conversation:
        return StuckConversation(self.card, self.stepped, self.let)


class StuckConversation(FragileConversation):
    def __init__(self, card: SystemCard, stepped: threading.Event, let: threading.Event) -> None:
        super().__init__(card)
        self.stepped, self.let = stepped, let

    def _answer(self, pcm: Pcm) -> Reply:
        self.stepped.set()
        self.let.wait(20)
        return super()._answer(pcm)


def test_a_parked_conversation_is_closed_where_nobody_comes_back_for_it() -> None:
    system = Counted()
    with running(system) as engine:
        resumed, forgotten = engine.join(lambda heard: None).park(), engine.join(lambda heard: None).park()
        slot = engine.join(lambda heard: None, saved=resumed)
        del resumed, forgotten
        gc.collect()
        engine.join(lambda heard: None)  # whoever comes next may need what the forgotten one holds
        assert [each._closed for each in system.opened] == [False, True, False]
        slot.leave()
        assert [each._closed for each in system.opened] == [True, True, False]


class Counted(Beeper):
    """Knows its conversations."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[BeeperConversation] = []

    def open(self, seed: int = 0) -> BeeperConversation:
        self.opened.append(super().open(seed))
        return self.opened[-1]


@pytest.mark.parametrize("way", ["leave", "park"])
def test_a_slot_is_left_while_its_conversation_fails(way: str) -> None:
    system = Stuck()
    with running(system, slots=1) as engine, ThreadPoolExecutor() as pool:
        ears = Ears()
        slot = engine.join(ears)
        slot.push(LOUD)
        assert system.stepped.wait(20)
        leaving = pool.submit(getattr(slot, way))
        time.sleep(0.1)  # it waits for the step
        system.let.set()
        error = leaving.exception(20)
        assert error is None if way == "leave" else isinstance(error, SlotLostError)
        assert isinstance(ears.told.get(timeout=20), AudioError)
        assert engine.taken == 0
        newcomer = engine.join(ears)
        slot.leave()
        with pytest.raises(SlotLostError):
            slot.park()
        newcomer.push(SILENCE)
        ears.hear(1)
        assert engine.taken == 1


def test_an_error_is_reported_once_however_many_conversations_it_ends(
    native: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    assert isinstance(native, NativeSystem)
    monkeypatch.setattr(native.generator, "step", fail)
    rows = rows_of(native, 2)
    reported: list[Exception] = []
    engine = Engine(rows)
    engine.report = reported.append
    ears = Ears(), Ears()
    for slot in [engine.join(each) for each in ears]:
        slot.push(SILENCE)
    engine.start()
    try:
        errors = [each.told.get(timeout=20) for each in ears]
    finally:
        engine.stop()
    assert all(error is errors[0] for error in errors)
    assert reported == errors[:1]
    assert "Traceback" in reported[0].__notes__[0] and "out of memory" in str(reported[0])


class Slow(SingleRows):
    """Takes its time for a step, so that the next is due when it is done, and notes what was done in which order."""

    def __init__(self, size: int) -> None:
        super().__init__(Beeper(), size)
        self.order: list[str] = []

    def open(self, row: int, seed: int) -> None:
        self.order.append("open")
        super().open(row, seed)

    def step(self, heard: Mapping[int, Pcm]) -> dict[int, Reply | Exception]:
        self.order.append("step")
        time.sleep(0.02)
        return super().step(heard)


def test_a_step_that_is_due_waits_for_one_joining_client_at_most() -> None:
    rows, ears = Slow(40), Ears()
    engine = Engine(rows)
    engine.start()
    try:
        slot = engine.join(ears)
        for _ in range(120):
            slot.push(SILENCE)
        ears.hear(2)
        with ThreadPoolExecutor(30) as pool:
            joined = list(pool.map(lambda _: engine.join(Ears()), range(30)))
        ears.hear(100)
    finally:
        engine.stop()
    assert len({slot.row for slot in joined}) == 30
    done = " ".join(rows.order).removeprefix("open").strip()
    assert done.count("open") == 30 and "open open" not in done


def test_what_an_ended_engine_is_asked_is_done_all_the_same(native: System) -> None:
    with running(native) as engine:
        slot = engine.join(Ears())
    slot.leave()
    assert engine.taken == 0
