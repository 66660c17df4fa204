"""`duologue talk`: a spoken question in, a spoken answer out; from a file, a pipe or the microphone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import typer

from duologue.atomic import atomic
from duologue.commands.files import keep
from duologue.errors import AudioError, ConfigError, DuologueError
from duologue.systems.base import HeardWord, Pcm, Reply, SpokenWord, SystemCard, Turn

Sink = Callable[[Pcm, Reply], None]
"""Takes the user's frame and the reply to it, which sounds one frame later."""

LONG = 30.0  # seconds of question from which a progress bar is worth its line


def talk(
    question: Annotated[str | None, typer.Argument(help='An audio file, or "-" for raw s16le mono PCM.')] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where the reply goes.")] = None,
    stereo: Annotated[bool, typer.Option("--stereo", help="Write both voices: left you, right the system.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Print the text of the reply and nothing else.")] = False,
    events: Annotated[Path | None, typer.Option(help="Write every event as a line of JSON.")] = None,
    model: Annotated[
        str, typer.Option(help='"box", a model folder, a Hugging Face id, or a name as "cascade".')
    ] = "box",
    tail: Annotated[float, typer.Option(min=0, help="Seconds to wait for a reply after the question.")] = 6.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    mic: Annotated[bool, typer.Option("--mic", help="Talk live over the sound card; Ctrl-C hangs up.")] = False,
    rate: Annotated[
        int | None, typer.Option(min=1000, max=384000, help='Sample rate of raw PCM (with "-"); 16000 by default.')
    ] = None,
) -> None:
    """Ask a question in speech and get the answer in speech.

    The reply is written on the question's time line: it begins with silence while you speak. A file's reply goes to
    NAME.reply.wav in the current folder unless -o says otherwise; live conversations are written only with -o.
    """
    if mic == (question is not None):
        raise ConfigError('give one of: an audio file, "-" for raw PCM on standard input, --mic')
    piped = question == "-"
    if rate is not None and not piped:
        raise ConfigError('--rate goes with "-": a file and the sound card tell their rate themselves')
    if mic or piped:
        _refuse_idle(output, stereo, text)
        keep(None, output, events)
    if mic:
        _talk_live(model, seed, output, stereo, events)
    elif piped:
        _talk_pipe(model, seed, output, stereo, events, tail, rate or 16000)
    else:
        _talk_file(Path(str(question)), model, seed, output, stereo, events, tail, text)


def _refuse_idle(output: Path | None, stereo: bool, text: bool) -> None:
    """Refuse what would do nothing in a live conversation."""
    if text:
        raise ConfigError("--text goes with an audio file; live conversations print their words as they come")
    if stereo and output is None:
        raise ConfigError("--stereo writes both voices into a file; name it with -o")


def _talk_file(
    path: Path, model: str, seed: int, output: Path | None, stereo: bool, events: Path | None, tail: float, text: bool
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from duologue.commands.exchange import Account, exchange
    from duologue.commands.loading import load
    from duologue.commands.question import inspect

    output = output or Path(f"{path.stem}.reply.wav")
    keep(path, output, events)
    question = inspect(path)
    for note in question.notes:
        print(note, file=sys.stderr)
    system = load(model)
    card = system.card
    account = Account(card.frame / card.sample_rate)
    progress = Progress(console=Console(stderr=True), transient=True, disable=question.seconds < LONG)
    with (
        _sinks(card, output, stereo, events) as sinks,
        system.open(seed) as conversation,
        progress,
    ):
        task = progress.add_task("talking", total=question.seconds)
        for frame, reply in exchange(conversation, question.frames(card.sample_rate, card.frame), tail):
            for sink in (account.add, *sinks):
                sink(frame, reply)
            progress.update(task, completed=conversation.time)
    if text:
        print(account.reply_text())
        return
    console = Console(highlight=False)
    console.print(account.table(card.name))
    console.print(account.summary(), soft_wrap=True)
    console.print(f"wrote {output}", soft_wrap=True, markup=False)


def _talk_pipe(
    model: str, seed: int, output: Path | None, stereo: bool, events: Path | None, tail: float, rate: int
) -> None:
    from duologue.commands.exchange import Account, exchange
    from duologue.commands.loading import load
    from duologue.systems.punctual import settle

    if sys.stdin.isatty() or sys.stdout.isatty():
        raise ConfigError('"-" is for pipes: raw s16le mono PCM on standard input and output, neither a terminal')
    system = load(model)
    settle()
    account = Account(system.card.frame / system.card.sample_rate)
    pipe = _Pipe(sys.stdin.buffer, sys.stdout.buffer, rate, system.card)
    with (
        _sinks(system.card, output, stereo, events) as sinks,
        system.open(seed) as conversation,
        contextlib.suppress(BrokenPipeError),  # whoever listened has left: the conversation is over, not wrong
    ):
        for frame, reply in exchange(conversation, pipe.frames(), tail):
            for sink in (account.add, *sinks, _print_words, pipe.play):
                sink(frame, reply)
        pipe.finish()
    print(f"\n{account.summary()}", file=sys.stderr)


def _talk_live(model: str, seed: int, output: Path | None, stereo: bool, events: Path | None) -> None:
    from duologue.audio.devices import Duplex
    from duologue.commands.exchange import Account
    from duologue.commands.loading import load
    from duologue.systems.punctual import settle

    system = load(model)
    settle()
    card = system.card
    account = Account(card.frame / card.sample_rate)
    with (
        _sinks(card, output, stereo, events) as sinks,
        system.open(seed) as conversation,
        Duplex(card.sample_rate, card.frame) as duplex,
    ):
        _say("listening; Ctrl-C hangs up")
        for frame in duplex:
            reply = conversation.step(frame)
            duplex.play(reply.pcm)
            for sink in (account.add, *sinks, _print_words):
                sink(frame, reply)
    print(f"\n{account.summary()}", file=sys.stderr)


class _Pipe:
    """Raw s16le mono PCM at any rate on one side, frames of the system on the other."""

    def __init__(self, source: BinaryIO, target: BinaryIO, rate: int, card: SystemCard) -> None:
        from duologue.audio.resample import LiveResampler

        self.source, self.target, self.card = source, target, card
        self.block = max(1, round(rate / card.frame_rate))
        self.inward = LiveResampler(rate, card.sample_rate)
        self.outward = LiveResampler(card.sample_rate, rate)

    def frames(self) -> Iterator[Pcm]:
        """Frames (card.frame,) as they arrive, the last one padded with silence."""
        pending = np.zeros(0, np.float32)
        size = self.card.frame
        for block in self._blocks():
            pending = np.concatenate((pending, block))
            while len(pending) >= size:
                yield pending[:size]
                pending = pending[size:]
        if len(pending):
            yield np.pad(pending, (0, size - len(pending)))

    def play(self, frame: Pcm, reply: Reply) -> None:
        """Write a reply at once."""
        self._write(self.outward.push(reply.pcm))

    def finish(self) -> None:
        """Write what the resampler still holds."""
        self._write(self.outward.flush())

    def _blocks(self) -> Iterator[Pcm]:
        empty = True
        while data := self.source.read(2 * self.block):
            if len(data) % 2:
                print("warning: standard input ended inside a 16-bit sample; the odd byte is dropped", file=sys.stderr)
            samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
            empty = empty and not len(samples)
            yield self.inward.push(samples.astype(np.float32) / 32768)
        if empty:
            raise AudioError("standard input holds no audio; pipe in raw s16le mono PCM")
        yield self.inward.flush()

    def _write(self, pcm: Pcm) -> None:
        try:
            self.target.write((np.clip(pcm, -1, 1) * 32767).round().astype("<i2").tobytes())
            self.target.flush()
        except BrokenPipeError:
            raise
        except OSError as error:  # said here, or the files that are open beside it would be blamed
            raise DuologueError(f"cannot write standard output: {error.strerror or error}") from error


@contextlib.contextmanager
def _sinks(card: SystemCard, output: Path | None, stereo: bool, events: Path | None) -> Iterator[list[Sink]]:
    """What a conversation is written to; every file appears whole at the end, or not at all."""
    with contextlib.ExitStack() as stack:
        sinks = []
        if output:
            sinks.append(stack.enter_context(_recording(output, card, stereo)))
        if events:
            sinks.append(stack.enter_context(_event_log(events)))
        yield sinks


@contextlib.contextmanager
def _recording(path: Path, card: SystemCard, stereo: bool) -> Iterator[Sink]:
    """The reply, or with `stereo` both voices, on the conversation's time line."""
    from duologue.audio.files import Writer

    silence = np.zeros(card.frame, np.float32)
    last = silence  # a reply sounds one frame after the frame that it answers
    with Writer(path, rate=card.sample_rate, channels=2 if stereo else 1) as writer:

        def write(frame: Pcm, reply: Reply) -> None:
            nonlocal last
            writer.write(np.stack((frame, last)) if stereo else last)
            last = reply.pcm

        yield write
        write(silence, Reply(silence))


@contextlib.contextmanager
def _event_log(path: Path) -> Iterator[Sink]:
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:

        def write(frame: Pcm, reply: Reply) -> None:
            try:
                file.writelines(f"{event.model_dump_json()}\n" for event in reply.events)
            except OSError as error:
                raise DuologueError(f"cannot write {path}: {error.strerror or error}; nothing was kept") from error

        yield write


def _print_words(frame: Pcm, reply: Reply) -> None:
    """Words on standard error as they come, a line each turn."""
    for event in reply.events:
        match event:
            case Turn(kind="user_started"):
                _say("\nyou: ")
            case Turn(kind="reply_started"):
                _say("\nreply: ")
            case Turn(kind="interrupted"):
                _say("...")
            case HeardWord() | SpokenWord():
                _say(f"{event.word} ")


def _say(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
