"""`duologue codec`: speech to tokens and back, in constant memory whatever the length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from duologue.commands.files import header, keep

if TYPE_CHECKING:
    from duologue.codec.base import Codec, CodecCard

CHUNK = 50  # frames coded at a time: enough to fill the matrices, few enough to keep memory small

app = typer.Typer(no_args_is_help=True, help="Speech to tokens and back.")

Model = Annotated[str, typer.Option("--codec", help='"box", a codec folder, or that of a model.')]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Where the result goes.")]
Audio = Annotated[Path, typer.Argument(help="An audio file.", metavar="AUDIO")]


@app.command()
def encode(audio: Audio, output: Output = None, codec: Model = "box") -> None:
    """Turn speech into codes: AUDIO -> NAME.codes.safetensors."""
    from duologue.commands.codes import Codes
    from duologue.systems.registry import load_codec

    output = output or Path(f"{audio.stem}.codes.safetensors")
    keep(audio, output)
    model, weights = load_codec(codec)
    samples, blocks = _read(audio, model.card)
    codes = np.concatenate(list(_encode(model, blocks)), axis=1)
    Codes(codes, samples, model.card, weights).save(output)
    seconds = samples / model.card.sample_rate
    print(f"wrote {output}: {seconds:.2f} s as {codes.shape[1]} frames of {codes.shape[0]} codes ({_rate(model.card)})")


@app.command()
def decode(
    codes: Annotated[Path, typer.Argument(help="A file that `encode` wrote.", metavar="CODES")],
    output: Output = None,
    codec: Model = "box",
) -> None:
    """Turn codes into speech: NAME.codes.safetensors -> NAME.decoded.wav."""
    from duologue.commands.codes import Codes
    from duologue.systems.registry import load_codec

    output = output or Path(f"{codes.name.removesuffix('.safetensors').removesuffix('.codes')}.decoded.wav")
    keep(codes, output)
    given = Codes.load(codes)
    model, weights = load_codec(codec)
    given.require(model.card, weights, codes)
    parts = (given.codes[:, begin : begin + CHUNK] for begin in range(0, given.codes.shape[1], CHUNK))
    _write(output, model, parts, given.samples)
    print(f"wrote {output}: {given.samples / model.card.sample_rate:.2f} s")


@app.command()
def roundtrip(audio: Audio, output: Output = None, codec: Model = "box") -> None:
    """Encode and decode, to hear what the codec keeps: AUDIO -> NAME.codec.wav, aligned with the original."""
    from duologue.systems.registry import load_codec

    output = output or Path(f"{audio.stem}.codec.wav")
    keep(audio, output)
    model, _ = load_codec(codec)
    samples, blocks = _read(audio, model.card)
    _write(output, model, _encode(model, blocks), samples)
    print(f"wrote {output}: {samples / model.card.sample_rate:.2f} s through {_rate(model.card)}")


def _read(audio: Path, card: CodecCard) -> tuple[int, Iterator[NDArray[np.float32]]]:
    """The length of a file in samples, and whole frames (n * hop,) of it and of the silence that flushes the delay."""
    from duologue.audio.files import stream
    from duologue.commands.codes import frames

    size = CHUNK * card.hop
    blocks = stream(audio, card.sample_rate, size)
    samples = max(1, round(header(audio).duration * card.sample_rate))

    def cut() -> Iterator[NDArray[np.float32]]:
        left = frames(samples, card) * card.hop
        for block in chain(blocks, repeat(np.zeros(size, np.float32))):
            yield block[:left]
            left -= size
            if left <= 0:
                return

    return samples, cut()


def _encode(codec: Codec, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.uint16]]:
    """Blocks (n * hop,) to codes (books, n)."""
    import torch

    state = codec.init_encoder(1)
    for block in blocks:
        codes = codec.encode_step(torch.from_numpy(block)[None], state)
        yield codes[0].numpy().astype(np.uint16)


def _decode(codec: Codec, parts: Iterable[NDArray[np.uint16]], samples: int) -> Iterator[NDArray[np.float32]]:
    """Codes (books, n) to `samples` of pcm in pieces, without the codec's delay."""
    import torch

    state = codec.init_decoder(1)
    begin, end = codec.card.delay_samples, codec.card.delay_samples + samples
    for codes in parts:
        pcm = codec.decode_step(torch.from_numpy(codes.astype(np.int64))[None], state)[0].numpy()
        yield pcm[max(0, begin) : max(0, end)]
        begin, end = begin - len(pcm), end - len(pcm)


def _write(output: Path, codec: Codec, parts: Iterable[NDArray[np.uint16]], samples: int) -> None:
    from duologue.audio.files import Writer

    with Writer(output, codec.card.sample_rate) as writer:
        for pcm in _decode(codec, parts, samples):
            writer.write(pcm)


def _rate(card: CodecCard) -> str:
    return f"{card.name}, {card.bitrate / 1000:g} kbps"
