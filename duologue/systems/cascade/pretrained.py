"""Stages by name: any recogniser, chat model or synthesiser of transformers, from a local folder or Hugging Face.

Weights are read as safetensors or by torch's weights-only loader, and no code of a model's folder is run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from duologue.audio.resample import resample
from duologue.errors import ModelError
from duologue.systems.base import Pcm, Tool
from duologue.systems.cascade.calling import called, is_plain, spoken
from duologue.systems.cascade.stages import RATE, Call
from duologue.systems.cascade.whole_turn import WholeTurn
from duologue.systems.playback import Sound

SHORTEST = 0.1  # seconds of speech that are worth recognising; filters of some models are about as long
Message = dict[str, Any]
FAILED = "Sorry, that did not work."
"""Said where a model meant to call a function and wrote nothing that can be called."""
_PROBE: Tool = {"name": "probe_of_tools", "description": "", "parameters": {"type": "object", "properties": {}}}


def _load(model: str, kind: str, make: Callable[[], Any]) -> Any:
    """Run what loads a model; raises ModelError in one line where it is not there or is of another kind."""
    if not Path(model).expanduser().is_dir() and model.count("/") != 1:
        raise ModelError(f"{model}: no such folder; a {kind} is a model folder or a Hugging Face id such as owner/name")
    try:
        return make()
    except ModuleNotFoundError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{model} cannot be loaded as a {kind}: {line}") from error


def _pipeline(task: str, model: str, **more: Any) -> Any:
    import transformers

    make: Any = transformers.pipeline  # its overloads know the tasks by name only
    return make(task, model=model, device="cpu", **more)


def _hifigan(model: str) -> Any:
    from transformers import SpeechT5HifiGan

    return SpeechT5HifiGan.from_pretrained(model)


class PretrainedRecognizer:
    """An automatic-speech-recognition pipeline. These hear a turn as a whole."""

    def __init__(self, model: str) -> None:
        self._transcribe = _load(model, "recogniser", lambda: _pipeline("automatic-speech-recognition", model))
        self._lock = threading.Lock()

    def open(self) -> WholeTurn:
        """Begin with one conversation."""
        return WholeTurn(self.transcribe)

    def transcribe(self, pcm: Pcm) -> str:
        """The text of (T,) at 16 kHz."""
        if len(pcm) < SHORTEST * RATE:
            return ""
        with self._lock:  # pipelines keep state while they run
            return str(self._transcribe({"raw": pcm, "sampling_rate": RATE})["text"]).strip()


class ChatAnswerer:
    """A causal language model with a chat template, decoded greedily token by token.

    Where the template has a place for tools, it can call functions (`calling`).
    """

    def __init__(self, model: str, instructions: str, longest: int) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.instructions, self.longest = instructions, longest
        self.tokenizer = _load(model, "text model", lambda: AutoTokenizer.from_pretrained(model))
        if self.tokenizer.chat_template is None:
            raise ModelError(f"{model} has no chat template; choose a model that was made to converse")
        self.model = _load(model, "text model", lambda: AutoModelForCausalLM.from_pretrained(model)).eval()
        self.calls = _PROBE["name"] in self.prompt([{"role": "user", "content": ""}], [_PROBE])

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """The text that the model goes on with."""
        functions = [{"type": "function", "function": dict(tool)} for tool in tools]
        text: str = self.tokenizer.apply_chat_template(
            list(messages), tools=functions or None, add_generation_prompt=True, tokenize=False
        )
        return text

    def open(self, seed: int) -> ChatDialogue:
        """Begin with one conversation; greedy decoding has no use for the seed."""
        return ChatDialogue(self)


class ChatDialogue:
    """The messages of one conversation. A reply that is interrupted is remembered as far as it was written."""

    def __init__(self, answerer: ChatAnswerer) -> None:
        self._answerer = answerer
        instructions = answerer.instructions
        self._messages: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
        self._tools: Sequence[Tool] = ()
        self._called: dict[str, str] = {}  # the names of what was called, by ids of nine letters, as Mistral wants them

    def offer(self, tools: Sequence[Tool]) -> None:
        """Functions that the model may call from now on."""
        self._tools = tools

    def answer(self, text: str) -> Iterator[str | Call]:
        """The reply in pieces of a token or a few, each as soon as it is decoded, and then what it calls."""
        self._messages.append({"role": "user", "content": text})
        return self.go_on()

    def give(self, results: Mapping[str, str]) -> None:
        """What calls came to; results of calls that were never made are left out."""
        for id, result in results.items():
            if id in self._called:
                name = self._called[id]
                self._messages.append({"role": "tool", "tool_call_id": id, "name": name, "content": result})

    def go_on(self) -> Iterator[str | Call]:
        """The reply to all that was said and given so far."""
        told = written = ""
        made: list[Call] = []
        try:
            for written in self._decode():
                sure = spoken(written)
                # the end may be half of a character still
                if not sure.endswith("\ufffd") and len(sure) > len(told):
                    piece, told = sure[len(told) :], sure
                    yield piece
            found = called(written, {tool["name"] for tool in self._tools})
            if not found and len(written) > len(told):  # a call that cannot be made, or only the beginning of a mark
                rest = written[len(told) :] if is_plain(written) else FAILED
                told += rest
                yield rest
            for name, arguments in found:
                call = Call(f"call{len(self._called) + 1:05d}", name, arguments)
                self._called[call.id] = name
                made.append(call)
                yield call
        finally:
            self._remember(told, made)

    def _remember(self, told: str, made: Sequence[Call]) -> None:
        message: Message = {"role": "assistant", "content": told.strip()}
        if made:
            functions = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in made]
            message["tool_calls"] = [
                {"type": "function", "id": call.id, "function": function}
                for call, function in zip(made, functions, strict=True)
            ]
        self._messages.append(message)

    @torch.inference_mode()
    def _next(self, tokens: torch.Tensor, cache: Any) -> tuple[int, Any]:
        out = self._answerer.model(input_ids=tokens, past_key_values=cache, use_cache=True)
        return int(out.logits[0, -1].argmax()), out.past_key_values

    def _decode(self) -> Iterator[str]:
        """The text so far, after every token."""
        tokenizer, model = self._answerer.tokenizer, self._answerer.model
        prompt = self._answerer.prompt(self._messages, self._tools)
        ends = model.generation_config.eos_token_id
        ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
        tokens = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        cache, written = None, []
        for _ in range(self._answerer.longest):
            token, cache = self._next(tokens, cache)
            if token in ends:
                return
            written.append(token)
            tokens = torch.tensor([[token]])
            yield tokenizer.decode(written, skip_special_tokens=True)


class PretrainedSynthesizer:
    """A text-to-audio pipeline, resampled to 16 kHz; its words, whose times are not told, share the sound by letters.

    Models that make sound (VITS, Bark …) need text alone. Those that make spectrograms (SpeechT5) need a vocoder, and
    the embedding of a voice.

    Args:
        model: a folder or a Hugging Face id.
        vocoder: the same of a HiFi-GAN; "" takes the one on Hugging Face that goes with SpeechT5.
        speaker: a .npy file with a voice's embedding, (dim,); "" where the model needs none.

    Raises:
        ModelError: one of them is missing, of another kind, or does not fit the model.
    """

    def __init__(self, model: str, vocoder: str = "", speaker: str = "") -> None:
        self.voice = f"{model} {Path(speaker).stem}".strip()
        more = {"vocoder": _load(vocoder, "vocoder", lambda: _hifigan(vocoder))} if vocoder else {}
        self._synthesise = _load(model, "synthesiser", lambda: _pipeline("text-to-audio", model, **more))
        self._given = self._embedding(model, speaker)
        self._lock = threading.Lock()

    def _embedding(self, model: str, speaker: str) -> dict[str, torch.Tensor]:
        """What the model is given beside the text."""
        size = getattr(self._synthesise.model.config, "speaker_embedding_dim", None)
        if size is None and not speaker:
            return {}
        if size is None:
            raise ModelError(f"{model} has one voice; leave speaker out")
        if not speaker:
            raise ModelError(f"{model} speaks in the voice it is given; name a .npy file with ({size},) as speaker")
        try:
            values = np.load(speaker, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"{speaker} is no .npy file of numbers; it is to hold a voice's ({size},)") from error
        if values.shape not in ((size,), (1, size)):
            raise ModelError(f"{speaker} holds {values.shape}; a voice of {model} is ({size},)")
        return {"speaker_embeddings": torch.from_numpy(values.astype(np.float32).reshape(1, size))}

    def speak(self, text: str) -> Iterator[Sound]:
        """A sentence in one piece; a synthesiser that draws at random draws the same for the same sentence."""
        words = text.split()
        if not words:
            return
        with self._lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = self._synthesise(text, forward_params=self._given)
        pcm = resample(np.asarray(made["audio"], np.float32).reshape(-1), int(made["sampling_rate"]), RATE)
        edges = np.cumsum([0, *(len(word) + 1 for word in words)]) / (len(text.replace(" ", "")) + len(words))
        times = (edges * len(pcm) / RATE).tolist()
        yield Sound(np.clip(pcm, -1, 1), list(zip(words, times[:-1], times[1:], strict=True)))
