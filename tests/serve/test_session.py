"""A session gives its slot back, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from systems.simple import Beeper

from duologue.serve.session import Session
from duologue.systems.base import Conversation
from duologue.systems.engine import Engine
from duologue.systems.rows import rows_of


class Slow(Beeper):
    """Opens a conversation once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = threading.Event(), threading.Event()

    def open(self, seed: int = 0) -> Conversation:
        self.asked.set()
        self.let.wait(10)
        return super().open(seed)


def test_a_slot_that_nobody_waits_for_any_more_comes_back() -> None:
    system = Slow()
    engine = Engine(rows_of(system, 1))

    async def test() -> None:
        opening = asyncio.ensure_future(Session(engine, lambda moment: None).open())
        await asyncio.to_thread(system.asked.wait, 10)
        opening.cancel()
        await asyncio.sleep(0.05)
        system.let.set()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        assert opening.cancelled() and engine.taken == 0
        again = Session(engine, lambda moment: None)
        await again.open()
        await again.close()

    engine.start()
    try:
        asyncio.run(test())
    finally:
        engine.stop()
