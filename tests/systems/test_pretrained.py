"""Stages of a cascade by name, on tiny models of random weights that transformers makes here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("silero_vad")
pytest.importorskip("onnxruntime")

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from duologue.audio.files import load
from duologue.errors import ModelError
from duologue.systems import registry
from duologue.systems.base import HeardWord, Pcm, Stage, TextWord, Turn
from duologue.systems.cascade.pretrained import ChatAnswerer, PretrainedRecognizer, PretrainedSynthesizer
from duologue.systems.cascade.system import CascadeSystem

QUESTION = Path(__file__).parents[2] / "examples" / "question.wav"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEMPLATE = "{% for m in messages %}{{ m['role'][0] }}{{ m['content'] }}{{ '\n' }}{% endfor %}a"


def write_recognizer(folder: Path) -> Path:
    """A wav2vec 2.0 model with a CTC head over letters; biased so that it always hears "h" and "i" in turn."""
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    folder.mkdir()
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, **{c: i for i, c in enumerate(LETTERS, 5)}}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    model = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        model.lm_head.weight[:5] = 0
        model.lm_head.bias[:5] = -100  # letters alone, so that it hears something in any sound
    model.save_pretrained(folder)
    return folder


def write_chat(folder: Path, template: bool = True) -> Path:
    """A LLaMA of two layers that writes letters."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    characters = ["<end>", "<unk>", *LETTERS, " ", ".", "\n"]
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(characters)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>")
    if template:
        fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(characters),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=0,
        bos_token_id=None,
        initializer_range=1.0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_synthesizer(folder: Path) -> Path:
    """A VITS that makes noise of letters, at 8 kHz."""
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    torch.manual_seed(0)
    folder.mkdir()
    vocabulary = {c: i for i, c in enumerate(["<pad>", " ", "<unk>", *LETTERS])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    VitsTokenizer(str(folder / "vocab.json"), phonemize=False, normalize=False).save_pretrained(folder)
    config = VitsConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        prior_encoder_num_flows=1,
        posterior_encoder_num_wavenet_layers=1,
        prior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1,
        duration_predictor_filter_channels=16,
        depth_separable_num_layers=1,
        upsample_initial_channel=16,
        upsample_rates=[8, 4],
        upsample_kernel_sizes=[16, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        sampling_rate=8000,
    )
    VitsModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    return {
        "recognizer": write_recognizer(base / "ears"),
        "answerer": write_chat(base / "mind"),
        "synthesizer": write_synthesizer(base / "mouth"),
    }


def test_a_recogniser_hears_a_turn_as_a_whole(folders: dict[str, Path], question: Pcm) -> None:
    recognizer = PretrainedRecognizer(str(folders["recognizer"]))
    one, two = recognizer.open(), recognizer.open()
    one.begin()
    two.begin()
    for frame in question[: len(question) // 1280 * 1280].reshape(-1, 1280):
        one.hear(frame)
    whole = one.finish()
    assert whole
    assert whole == recognizer.transcribe(question[: len(question) // 1280 * 1280])
    assert two.finish() == ""  # nothing was said there
    one.begin()
    assert one.finish() == ""  # the turn before is forgotten


def test_a_text_model_streams_what_it_would_generate(folders: dict[str, Path]) -> None:
    answerer = ChatAnswerer(str(folders["answerer"]), "be brief.", 24)
    pieces = list(answerer.open(0).answer("hello"))
    messages = [{"role": "system", "content": "be brief."}, {"role": "user", "content": "hello"}]
    inputs = answerer.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    tokens = answerer.model.generate(**inputs, max_new_tokens=24, do_sample=False)
    expected = answerer.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert "".join(pieces) == expected
    assert len(pieces) > 1


def test_what_was_said_before_counts(folders: dict[str, Path]) -> None:
    answerer = ChatAnswerer(str(folders["answerer"]), "", 12)
    fresh, used = answerer.open(0), answerer.open(0)
    before = "".join(used.answer("hello"))
    messages: Any = used._messages
    assert messages == [{"role": "user", "content": "hello"}, {"role": "assistant", "content": before.strip()}]
    assert list(fresh.answer("and now")) != list(used.answer("and now"))


def test_an_interrupted_reply_is_remembered_as_far_as_it_was_written(folders: dict[str, Path]) -> None:
    dialogue = ChatAnswerer(str(folders["answerer"]), "", 24).open(0)
    reply = dialogue.answer("hello")
    first = next(reply)
    reply.close()  # type: ignore[attr-defined]
    assert dialogue._messages[-1] == {"role": "assistant", "content": first.strip()}


def test_a_text_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    folder = write_chat(tmp_path / "plain", template=False)
    with pytest.raises(ModelError, match="chat template"):
        ChatAnswerer(str(folder), "", 4)


def test_a_synthesiser_is_resampled_and_says_a_sentence_the_same_twice(folders: dict[str, Path]) -> None:
    synthesizer = PretrainedSynthesizer(str(folders["synthesizer"]))
    (sound,) = synthesizer.speak("hello there")
    (again,) = synthesizer.speak("hello there")
    assert sound.pcm.dtype == np.float32
    assert np.array_equal(sound.pcm, again.pcm)
    assert [word for word, _, _ in sound.words] == ["hello", "there"]
    assert sound.words[0][2] == sound.words[1][1]
    assert sound.words[-1][2] == pytest.approx(len(sound.pcm) / 16000)
    raw = synthesizer._synthesise("hello there")
    assert raw["sampling_rate"] == 8000
    assert not list(synthesizer.speak(" "))


@pytest.mark.parametrize("stage", [PretrainedRecognizer, PretrainedSynthesizer])
def test_a_model_that_is_not_there_is_one_line(stage: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder") as caught:
        stage(str(tmp_path / "nothing"))
    assert "\n" not in str(caught.value)


def test_a_folder_of_another_kind_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded as a recogniser") as caught:
        PretrainedRecognizer(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_whole_cascade_by_name(folders: dict[str, Path], tmp_path: Path) -> None:
    stages: dict[str, dict[str, Any]] = {
        name: {"use": "transformers", "model": str(folder)} for name, folder in folders.items()
    }
    stages["answerer"]["longest"] = 16
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"name": "mine", **stages}))
    system = registry.load(f"cascade:{file}")
    assert isinstance(system, CascadeSystem)
    user = np.pad(load(QUESTION), (1280, 1280 * 30))
    user = user[: len(user) // 1280 * 1280]
    with system.open() as conversation:
        replies = [conversation.step(frame) for frame in user.reshape(-1, 1280)]
    events = [event for reply in replies for event in reply.events]
    assert any(isinstance(event, HeardWord) for event in events)
    assert any(isinstance(event, TextWord) for event in events)
    stopped = next(e.time for e in events if isinstance(e, Turn) and e.kind == "user_stopped")
    loud = [index for index, reply in enumerate(replies) if reply.pcm.any()]
    assert (loud[0] + 1) * 0.08 == pytest.approx(stopped)  # the frame after the one in which the turn was over
    names = [event.name for event in events if isinstance(event, Stage)]
    assert names[:4] == ["endpoint", "recognition", "answer", "synthesis"]
