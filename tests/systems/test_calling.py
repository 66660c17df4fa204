"""Calls of functions: found in what text models write, made by a chat model, and carried through a cascade."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from systems.simple import Beeper

from duologue.systems.base import Event, FunctionCall, TextWord, Turn
from duologue.systems.cascade.calling import called, spoken
from duologue.systems.process import ProcessRows
from duologue.systems.rows import Rows, SingleRows

CALL = {"name": "weather", "arguments": {"city": "Oslo"}}
HERMES = f"One moment. <tool_call>\n{json.dumps(CALL)}\n</tool_call>"
LLAMA = json.dumps({"name": "weather", "parameters": {"city": "Oslo"}})
MISTRAL = json.dumps([CALL, CALL])
WRITTEN = {HERMES: 1, f"{HERMES}\n<tool_call>{json.dumps(CALL)}": 2, LLAMA: 1, MISTRAL: 2}


@pytest.mark.parametrize(("written", "count"), WRITTEN.items())
def test_calls_are_found_in_each_way_of_writing_them(written: str, count: int) -> None:
    calls = called(written, {"weather"})
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [("weather", {"city": "Oslo"})] * count


@pytest.mark.parametrize(
    "written",
    [
        "It is cold.",
        "<tool_call>{not json}</tool_call>",
        "[laughs] no",
        '{"name": "rm"}',
        '["weather"]',
        "3",
        '{"name": ["weather"]}',
        '{"name": "weather", "arguments": "Oslo"}',
        '{"name": "weather", "arguments": [1]}',
    ],
)
def test_what_is_no_call_is_none(written: str) -> None:
    assert called(written, {"weather"}) == []


@pytest.mark.parametrize("arguments", ["", '{"city": "Oslo"}', {}, {"city": "Oslo"}])
def test_arguments_are_an_object_however_they_are_written(arguments: object) -> None:
    ((_, told),) = called(json.dumps({"name": "weather", "arguments": arguments}), {"weather"})
    assert json.loads(told) in ({}, {"city": "Oslo"})


@given(st.sampled_from([*WRITTEN, "a < b, and <tool_ is no mark", "plain words"]), st.data())
def test_what_is_said_while_it_is_written_is_never_taken_back(written: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(written)))
    assert spoken(written).startswith(spoken(written[:cut]))
    assert "tool_call" not in spoken(written) and not spoken(written).startswith(("{", "["))


# ---- a chat model ------------------------------------------------------------------------------------------------

TEMPLATE = (
    "{% for t in tools or [] %}{{ '#' + t.function.name }}{% endfor %}"
    "{% for m in messages %}{{ m.role[0] }}{% for c in m.tool_calls or [] %}{{ c.function.arguments.city }}"
    "{% if c.id | length != 9 %}{{ raise_exception('ids have nine letters') }}{% endif %}"
    "{% endfor %}{{ m.content }}{{ '~' }}{% endfor %}a"
)
LEARNED = {  # prompt -> what the model has learned by heart to write after it
    "#weatheruis it cold~a": 'wait. <tool_call>{"name": "weather", "arguments": {"city": "oslo"}}</tool_call>',
    "#weatheruis it cold~aoslowait.~tminus two~a": "it is minus two.",
    "uis it cold~a": "i do not know.",
    "#newsuis it cold~a": '<tool_call>{"name": "weath',
}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA of two layers that knows some replies by heart, letter by letter."""
    pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    characters = ["\x00", *sorted({letter for pair in LEARNED.items() for text in pair for letter in text} | {"?"})]
    tokenizer = Tokenizer(models.WordLevel({letter: at for at, letter in enumerate(characters)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="\x00", unk_token="?")
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(
        LlamaConfig(**sizes, vocab_size=len(characters), intermediate_size=128, eos_token_id=0, bos_token_id=None)
    )
    rows = [(fast(prompt)["input_ids"], [*fast(reply)["input_ids"], 0]) for prompt, reply in LEARNED.items()]
    longest = max(len(prompt) + len(reply) for prompt, reply in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
    labels = torch.full_like(tokens, -100)
    for row, (prompt, reply) in enumerate(rows):
        tokens[row, : len(prompt) + len(reply)] = torch.tensor(prompt + reply)
        labels[row, len(prompt) : len(prompt) + len(reply)] = torch.tensor(reply)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(300):
        loss = model(input_ids=tokens, labels=labels).loss
        if loss < 0.005:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("chat")
    fast.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def test_a_chat_model_calls_a_function_and_goes_on_with_its_result(chat: Path) -> None:
    from duologue.systems.cascade.pretrained import FAILED, ChatAnswerer
    from duologue.systems.cascade.stages import Call

    answerer = ChatAnswerer(str(chat), "", 128)
    assert answerer.calls
    dialogue = answerer.open(0)
    assert "".join(map(str, dialogue.answer("is it cold"))) == LEARNED["uis it cold~a"]  # nothing is on offer
    dialogue = answerer.open(0)
    dialogue.offer([{"name": "weather", "description": "", "parameters": {}}])
    *said, call = dialogue.answer("is it cold")
    assert "".join(map(str, said)).strip() == "wait."
    assert call == Call("call00001", "weather", '{"city": "oslo"}')
    dialogue.give({"call00001": "minus two", "call00009": "never called"})
    assert "".join(map(str, dialogue.go_on())) == "it is minus two."
    dialogue = answerer.open(0)
    dialogue.offer([{"name": "news", "description": "", "parameters": {}}])
    assert "".join(map(str, dialogue.answer("is it cold"))) == FAILED  # half of a call


# ---- through the cascade -----------------------------------------------------------------------------------------


def until_quiet(rows: Rows) -> list[Event]:
    """What happens in some seconds of silence."""
    events: list[Event] = []
    for _ in range(60):
        reply = rows.step({0: np.zeros(1280, np.float32)})[0]
        assert not isinstance(reply, Exception)
        events += reply.events
    return events


def text_of(events: list[Event]) -> str:
    return " ".join(event.word for event in events if isinstance(event, TextWord))


def needed() -> None:
    for package in ("silero_vad", "onnxruntime", "pocketsphinx", "espeakng_loader"):
        pytest.importorskip(package)


def test_a_cascade_tells_of_its_calls_and_says_what_came_back() -> None:
    needed()
    from systems.caller import WEATHER, caller

    rows = SingleRows(caller(), 1)
    assert rows.card.calls
    rows.open(0, 0)
    assert rows.offer(0, [WEATHER])
    assert rows.read(0, "is it cold")
    events = until_quiet(rows)
    (call,) = [event for event in events if isinstance(event, FunctionCall)]
    assert (call.id, call.name, json.loads(call.arguments)) == ("call_1", "weather", {"city": "Oslo"})
    assert text_of(events) == "One moment."
    assert rows.give(0, {"call_1": "minus two"})
    assert until_quiet(rows)[-1].kind == "timing"  # it waits to be asked
    assert rows.go_on(0)
    events = until_quiet(rows)
    assert text_of(events) == "It is minus two in Oslo."
    assert [event.kind for event in events if isinstance(event, Turn)] == ["reply_started", "reply_ended"]


def test_a_chat_model_calls_from_a_process_of_its_own(chat: Path, tmp_path: Path) -> None:
    needed()
    stages = {"answerer": {"use": "transformers", "model": str(chat), "instructions": ""}}
    (tmp_path / "mine.json").write_text(json.dumps(stages))
    rows = ProcessRows(f"cascade:{tmp_path / 'mine.json'}", 1)
    try:
        assert rows.card.calls
        rows.open(0, 0)
        assert rows.offer(0, [{"name": "weather", "description": "", "parameters": {}}])
        assert rows.read(0, "is it cold")
        (call,) = [event for event in until_quiet(rows) if isinstance(event, FunctionCall)]
        assert rows.give(0, {call.id: "minus two"}) and rows.go_on(0)
        assert text_of(until_quiet(rows)) == "it is minus two."
    finally:
        rows.close_all()


def test_a_system_that_calls_nothing_is_offered_nothing() -> None:
    rows = SingleRows(Beeper(), 1)
    rows.open(0, 0)
    assert not rows.offer(0, [{"name": "weather"}])
    assert not rows.give(0, {"call_1": "minus two"})
    assert not rows.go_on(0)
