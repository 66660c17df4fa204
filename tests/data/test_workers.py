"""Processes that make data: interrupts are for their parent, with which they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duologue
from duologue.data.workers import in_workers

ROOT = Path(duologue.__file__).parents[1]


def leave_pid(folder: Path) -> None:
    """Write who this is, and stay busy until the folder holds "enough"."""
    (folder / f"worker-{os.getpid()}").touch()
    while not (folder / "enough").exists():
        time.sleep(0.01)


def begun(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """This file as a program, leader of a group of its own, and its two workers, which are at work."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    while len(workers := list(folder.glob("worker-*"))) < 2:
        assert run.poll() is None
        time.sleep(0.01)
    return run, [int(path.name.removeprefix("worker-")) for path in workers]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_part_is_made_and_comes_back_with_what_was_made() -> None:
    assert sorted(in_workers(abs, [-3, 1, -2, 0, 5], 2)) == [(-3, 3), (-2, 2), (0, 0), (1, 1), (5, 5)]


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    run, workers = begun(tmp_path)
    run.kill()
    run.communicate()
    while any(map(alive, workers)):  # the limit of a hanging test ends this where they stay
        time.sleep(0.01)


def test_an_interrupt_lets_the_parts_under_way_end_and_begins_no_more(tmp_path: Path) -> None:
    run, workers = begun(tmp_path)
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(0.2)
    assert all(map(alive, workers))
    (tmp_path / "enough").touch()
    _, error = run.communicate()
    assert error.count("Traceback") == 1, "the parent's"
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert len(list(tmp_path.glob("worker-*"))) == 2
    assert not (tmp_path / "all").exists()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores Ctrl-C
    here = Path(sys.argv[1])
    list(in_workers(leave_pid, [here] * 4, 2))
    (here / "all").touch()
