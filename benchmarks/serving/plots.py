"""The figures of a server as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duologue.atomic import atomic
from serving.load import BORNE


def draw_load(levels: Sequence[dict[str, Any]], path: Path) -> None:
    """Late frames, latency and memory over the number of conversations, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    own = "memory_mib" in levels[0]
    figure, plots = pyplot.subplots(1, 3 if own else 2, figsize=(12 if own else 8, 3.4), layout="constrained")
    counts = [level["conversations"] for level in levels]
    for name, label in (
        ("reply_late_share", "of replies, at the client"),
        ("step_late_share", "of all, in the server"),
    ):
        if name in levels[0]:
            plots[0].plot(counts, [100 * level[name] for level in levels], marker="o", label=label)
    plots[0].axhline(100 * BORNE, color="grey", linestyle=":", label=f"{100 * BORNE:g}%")
    plots[0].set_yscale("symlog", linthresh=100 * BORNE)
    plots[0].set_ylim(bottom=0)
    plots[0].set_ylabel("late frames, %")
    plots[0].legend(fontsize=7)
    name, label = ("added_ms", "frame in to frame out") if own else ("answer_ms", "question to first sound")
    for share in ("p50", "p99"):
        told = [(level["conversations"], level[name][share]) for level in levels if level[name]]
        if told:
            plots[1].plot(*zip(*told, strict=True), marker="o", label=share)
    plots[1].set_ylabel(f"{label}, ms")
    plots[1].set_ylim(bottom=0)
    if plots[1].lines:
        plots[1].legend(fontsize=7)
    if own:
        plots[2].plot(counts, [level["memory_mib"] for level in levels], marker="o")
        plots[2].set_ylim(bottom=0)
        plots[2].set_ylabel("memory of the server, MiB")
    for plot in plots:
        plot.set_xlabel("conversations at once")
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)


def draw_soak(samples: Sequence[tuple[float, float, int]], path: Path) -> None:
    """Memory and open files of the server over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, plots = pyplot.subplots(2, 1, figsize=(8, 4), sharex=True, layout="constrained")
    seconds, memory, files = zip(*samples, strict=True)
    minutes = [each / 60 for each in seconds]
    for plot, values, label in zip(plots, (memory, files), ("memory, MiB", "open files"), strict=True):
        plot.plot(minutes, values)
        plot.set_ylim(bottom=0)
        plot.set_ylabel(label)
    plots[1].set_xlabel("minutes")
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    pyplot.close(figure)
