"""Finds a system by name: the model in the box, a folder, a Hugging Face id, or one that is no model (`BY_NAME`).

A model is a folder of `config.json`, `model.safetensors`, `tokenizer.json`, `card.json` and `README.md`; the last two
say to programs and to people what it is, and are not needed to run it.
Loading never runs code from the folder.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

import duologue
from duologue.errors import ModelError
from duologue.systems.base import System, SystemCard

if TYPE_CHECKING:
    from duologue.codec.base import Codec

BOX = Path(duologue.__file__).parent / "models" / "box"
FILES = ("config.json", "model.safetensors", "tokenizer.json")

BY_NAME: dict[str, tuple[str, Literal["", "[:FILE.json]", ":CODEC"]]] = {
    "cascade": ("duologue.eval.baselines:cascade", "[:FILE.json]"),
    "always-talk": ("duologue.systems.floors:AlwaysTalk", ""),
    "never-talk": ("duologue.systems.floors:NeverTalk", ""),
    "echo": ("duologue.systems.floors:Echo", ""),
    "oracle": ("duologue.eval.baselines:oracle", ""),
    "codec": ("duologue.systems.coders:load", ":CODEC"),
}
"""Systems that are no model folders: what makes each, and what may follow its name.

What makes them is named and not imported: some rest on what measures, and with it on a synthesiser under the GPL, which
nothing that talks may import by itself.
"""
NAMES = ", ".join(f"{name}{argument}" for name, (_, argument) in BY_NAME.items())


def locate(name: str | Path = "box") -> Path:
    """The folder of a model: "box", a path, or `owner/name` on Hugging Face (downloaded once, then cached).

    Raises:
        ModelError: there is no such model, or it is not cached and cannot be downloaded.
    """
    path = BOX if str(name) == "box" else Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{path} is a file; a model is a folder with {', '.join(FILES)}")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", str(name)):
        return _download(str(name))
    what = "the model in the box is not installed" if path == BOX else "there is no such folder"
    raise ModelError(
        f"{path}: {what}; give box, a model folder, a Hugging Face id such as owner/name, or one of {NAMES}"
    )


def read_card(folder: Path) -> SystemCard:
    """The card of a model folder: its `card.json`, or where it has none, what `config.json` and the weights tell.

    Raises:
        ModelError: a file is missing, truncated or not what its name says.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder} has no {name}; a model folder holds {', '.join(FILES)}")
    _read_json(folder / "tokenizer.json")
    parameters = _count(folder / "model.safetensors")
    path = folder / "config.json"
    given = _describe(path)  # read also where a card says more, for a broken one is no model
    if (folder / "card.json").is_file():
        path = folder / "card.json"
        given = _read_json(path)
    try:
        return SystemCard.model_validate({"parameters": parameters, **given})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{path}: {where}: {first['msg']}") from error


def load(name: str | Path = "box") -> System:
    """A system, ready to open conversations: "box", a model folder, a Hugging Face id, or a name of `BY_NAME`.

    "cascade" is the one in the box, "cascade:FILE.json" one of your own; "codec:NAME" says back what it hears through a
    codec. A folder that is called like one of these is meant by "./cascade".

    Raises:
        ModelError: the model is not there, is incomplete, or its files do not fit each other.
        DuologueError: a system by name lacks a package or a file.
    """
    if is_named(name):
        return _make(str(name))
    folder = locate(name)
    card = read_card(folder)
    from duologue.systems.native import NativeSystem  # brings PyTorch, which a card does not need

    return NativeSystem.load(folder, card)


def is_named(name: str | Path) -> bool:
    """Whether `load` makes this system by its name and not from a model folder, so that only it knows its card."""
    return isinstance(name, str) and name.partition(":")[0] in BY_NAME


def load_codec(name: str | Path = "box") -> tuple[Codec, str]:
    """A codec and the fingerprint of its weights: a codec folder's, or the one inside the model that `name` says.

    Raises:
        ModelError: it is not there, is incomplete, or its files do not fit each other.
    """
    from duologue.codec.spectral import SpectralCodec

    if is_named(name):
        raise ModelError(f"{name} is no codec to encode with; give box, a model's folder or a codec's")
    folder = locate(name)
    if (folder / "tokenizer.json").is_file():
        from duologue.lm.model import SpeechLM

        codec = SpeechLM.load(folder).codec
    else:
        codec = SpectralCodec.load(folder)
    digest = hashlib.sha256()
    for key, tensor in sorted(codec.state_dict().items()):
        digest.update(key.encode() + tensor.numpy().tobytes())
    return codec, digest.hexdigest()[:12]


def _make(name: str) -> System:
    kind, colon, argument = name.partition(":")
    maker, takes = BY_NAME[kind]
    if bool(colon) != bool(argument) or (argument and not takes) or (takes == ":CODEC" and not argument):
        raise ModelError(f"{name}: no such system; write {kind}{takes}")
    module, _, function = maker.partition(":")
    make = getattr(importlib.import_module(module), function)
    system: System = make(argument) if argument else make()
    return system


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[*FILES, "card.json", "README.md"]))
    except GatedRepoError as error:
        raise ModelError(f"{name} is gated on Hugging Face; accept its terms and run `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{name} is neither a folder nor a model on Hugging Face; check the spelling") from error
    except (OSError, ValueError, RuntimeError) as error:  # no network and "not cached" among them
        raise ModelError(f"{name} is no folder and cannot be had from Hugging Face: {_first_line(error)}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is truncated or not JSON ({_first_line(error)}); copy the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__} where a JSON object is expected")
    return value


def _describe(path: Path) -> dict[str, Any]:
    """What a model's `config.json` tells for its card."""
    config = _read_json(path)
    try:
        streams = {stream["name"] for stream in config["thinker_layout"]["streams"]}
        name = config["name"]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path} is no speech model's configuration; pack the model again") from error
    hears = [kind for stream, kind in (("user", "features"), ("user_codes", "codes")) if stream in streams]
    return {"name": name, "hears": hears}


def _count(path: Path) -> int:
    """The numbers in a weights file, by its header; the scales of packed weights are counted with them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is truncated or not safetensors ({_first_line(error)}); copy it again") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
