"""How many conversations a server holds in real time, what it adds to a frame's way, and what it bears.

    python benchmarks/serve.py load --out runs/serve
    python benchmarks/serve.py fuzz --out runs/serve
    python benchmarks/serve.py soak --out runs/serve
    python benchmarks/serve.py load --url wss://api.openai.com/v1/realtime?model=gpt-realtime --conversations 1

It starts `duologue serve` on a free port and talks to it from a process of its own, so the clients take their share of
the machine too. With `--url`, the same load goes to any other server of the Realtime API. What the server logged stays
beside the figures, as `server.log`.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from serving.fuzz import VISITORS, Findings
from serving.fuzz import fuzz as send_nonsense
from serving.healthy import beside
from serving.load import BROKEN, QUESTION, Level, capacity, hold, memory_of_one
from serving.plots import draw_load, draw_soak
from serving.served import Served, serving
from serving.soak import LIMITS, verdict
from serving.soak import soak as endure

from duologue.atomic import write_text

PARROT = Path(__file__).parent / "serving" / "parrot.py"
LOG = "server.log"
FUZZ_NICE = 19  # those who send nonsense have machines of their own; here they only get what the others leave
LEVELS = [1, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80]

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(highlight=False)

Out = Annotated[Path, typer.Option(help="Where the figures and the plot go.")]
Model = Annotated[str, typer.Option(help='What `duologue serve` serves: "box", a model folder or a name.')]


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    load = os.getloadavg()[0]
    if load > 0.5:
        console.print(f"note: the machine is busy (load {load:.1f}); quiet, it bears more than this")
    return {"cpu": cpu, "cores": os.cpu_count(), "load": load}


@app.command()
def load(
    out: Out = Path("runs/serve"),
    model: Model = "box",
    url: Annotated[str | None, typer.Option(help="Another server's WebSocket instead, its model in the query.")] = None,
    key_variable: Annotated[str, typer.Option(help="The environment variable that holds its key.")] = "OPENAI_API_KEY",
    conversations: Annotated[list[int] | None, typer.Option(help="Loads to try, smallest first.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 30.0,
    warm: Annotated[float, typer.Option(min=0, help="Seconds before each in which all talk already.")] = 3.0,
    question: Annotated[Path, typer.Option(help="What the talkers ask, over and over.")] = QUESTION,
) -> None:
    """Conversations at once, late frames, latency and memory, up to where it breaks."""
    counts = sorted(conversations or LEVELS)
    result: dict[str, Any] = {"machine": machine(), "server": url or f"duologue serve --model {model}", "levels": []}
    if url is not None:
        key = os.environ.get(key_variable)
        _climb(result, url, key, counts, seconds, warm, question, None)
    else:
        with serving([model], max(counts), out / LOG) as served:
            target = f"{served.ws}/v1/realtime"
            _climb(result, target, None, counts, seconds, warm, question, served)
            if result["capacity"]:
                half = max(1, result["capacity"] // 2)
                console.print(f"latency at half of {result['capacity']}, {half}")
                result["half"] = asyncio.run(hold(target, None, half, 2 * seconds, warm, question, served))
    show_load(result)
    write_text(out / "load.json", json.dumps(result, indent=1) + "\n")
    draw_load(result["levels"], out / "load.png")
    console.print(f"wrote {out}/load.json and load.png", soft_wrap=True)


def _climb(
    result: dict[str, Any],
    url: str,
    key: str | None,
    counts: list[int],
    seconds: float,
    warm: float,
    question: Path,
    served: Served | None,
) -> None:
    """One load after the other, until one breaks."""
    for count in counts:
        level = asyncio.run(hold(url, key, count, seconds, warm, question, served))
        result["levels"].append(level)
        console.print(f"{count}: {100 * level['reply_late_share']:.2f}% late, {level['refused']} refused")
        if level["refused"] or level["reply_late_share"] > BROKEN:
            break
    result["capacity"] = capacity(result["levels"])
    result["punctual"] = capacity(result["levels"], "punctual")
    result["memory_mib_each"] = memory_of_one(result["levels"])


def show_load(result: dict[str, Any]) -> None:
    """Print the table and what follows from it."""
    table = Table(box=None, pad_edge=False, title=result["server"])
    columns = (
        "talkers",
        "replies late",
        "all late",
        "in to out, ms",
        "beyond the step, ms",
        "answer after, ms",
        "step, ms",
        "of a reply",
        "MiB",
    )
    for column in columns:
        table.add_column(column, justify="right")
    for level in [*result["levels"], *([result["half"]] if "half" in result else [])]:
        table.add_row(
            str(level["conversations"]),
            f"{100 * level['reply_late_share']:.3f}%",
            _number(level, "step_late_share", 1, ".3%"),
            _spread(level.get("added_ms")),
            _spread(level.get("beyond_ms")),
            _spread(level["answer_ms"]),
            _number(level, "step_ms", 1, ".1f"),
            _number(level, "reply_step_ms", 1, ".1f"),
            _number(level, "memory_mib", 1, ".0f"),
        )
    console.print(table)
    console.print("ms: p50 (p99)" + ("; the last line is the one at half load" if "half" in result else ""))
    console.print(
        f"held in real time: {result['capacity']} conversations; {result['punctual']} with every step in time"
    )
    if result["memory_mib_each"] is not None:
        console.print(f"memory: {result['memory_mib_each']:.2f} MiB a conversation")


def _spread(told: dict[str, float] | None) -> str:
    return f"{told['p50']:.1f} ({told['p99']:.1f})" if told else ""


def _number(level: Level, name: str, times: float, form: str) -> str:
    return format(times * level[name], form) if level.get(name) is not None else ""


@app.command()
def fuzz(
    out: Out = Path("runs/serve"),
    model: Model = "box",
    count: Annotated[int, typer.Option(min=1, help="Messages, requests and streams of bytes to send.")] = 50_000,
    seed: Annotated[int, typer.Option(help="All that is sent follows from it.")] = 0,
    question: Annotated[Path, typer.Option(help="What the healthy conversation asks, over and over.")] = QUESTION,
) -> None:
    """Malformed and out-of-order messages over every endpoint; exit code 1 where that was not borne."""
    result: dict[str, Any] = {"machine": machine(), "server": f"duologue serve --model {model}", "seed": seed}
    with serving([model], 4 * VISITORS, out / LOG) as served:
        findings, seen = asyncio.run(_fuzz_beside(served, count, seed, question))
        failed = [*findings.failed, *({"log": line, "times": n} for line, n in Counter(served.failures()).items())]
        result |= {
            "sent": dict(findings.sent),
            "answers": dict(sorted(findings.answers.items())),
            "alive": served.alive,
            "failed": failed,
            "healthy": seen,
        }
    console.print(f"sent: {findings.total} ({', '.join(f'{name} {n}' for name, n in sorted(findings.sent.items()))})")
    console.print(f"the server {'lives' if result['alive'] else 'DIED'}; {len(failed)} failures of its own")
    for each in failed:
        console.print(each)
    console.print(f"the healthy conversation: {seen['late']} of {seen['frames']} frames late, lost: {seen['lost']}")
    write_text(out / "fuzz.json", json.dumps(result, indent=1) + "\n")
    console.print(f"wrote {out}/fuzz.json and {LOG}", soft_wrap=True)
    if failed or seen["lost"] or seen["late"] or not result["alive"]:
        raise typer.Exit(1)


async def _fuzz_beside(served: Served, count: int, seed: int, question: Path) -> tuple[Findings, dict[str, Any]]:
    async with beside(f"{served.ws}/v1/realtime", question, talkers=1) as seen:
        os.nice(FUZZ_NICE)
        findings = await send_nonsense(served, count, seed)
    return findings, seen


@app.command()
def soak(
    out: Out = Path("runs/serve"),
    model: Model = "box",
    minutes: Annotated[float, typer.Option(min=0.1, help="How long it is to last.")] = 30.0,
    talkers: Annotated[int, typer.Option(min=1, help="Healthy conversations; best half of what is held.")] = 12,
    seed: Annotated[int, typer.Option(help="What the others do follows from it.")] = 0,
    question: Annotated[Path, typer.Option(help="What the talkers ask, over and over.")] = QUESTION,
) -> None:
    """A long run beside clients that vanish, stall, flood and talk nonsense; exit code 1 where anything leaked."""
    result: dict[str, Any] = {"machine": machine(), "server": f"duologue serve --model {model}", "seed": seed}
    with serving([model, "parrot"], 2 * talkers + 16, out / LOG, LIMITS, (str(PARROT),)) as served:
        result |= asyncio.run(endure(served, 60 * minutes, talkers, seed, question))
    result["wrong"] = verdict(result)
    healthy = result["healthy"]
    console.print(f"healthy: {healthy['late']} of {healthy['frames']} frames late, {healthy['lost']} lost")
    console.print(
        f"replies checked for another's sound: {healthy['checked_replies']}, {healthy['foreign_replies']} held some"
    )
    console.print(f"others: {', '.join(f'{name} {times}' for name, times in sorted(result['others'].items()))}")
    console.print(
        f"memory: {result['memory_mib']:.0f} MiB, {100 * result['memory_growth']:+.1f}% since the second quarter"
    )
    console.print(f"files: {result['files']}, {result['files_growth']:+d}; left at the end: {result['left']}")
    for each in result["wrong"]:
        console.print(f"WRONG: {each}")
    write_text(out / "soak.json", json.dumps(result, indent=1) + "\n")
    draw_soak(result["samples"], out / "soak.png")
    console.print(f"wrote {out}/soak.json, soak.png and {LOG}", soft_wrap=True)
    if result["wrong"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
