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
LAYER: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
HIFIGAN: dict[str, Any] = {
    "sampling_rate": 8000,
    "upsample_initial_channel": 16,
    "upsample_rates": [8, 4],
    "upsample_kernel_sizes": [16, 8],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1]],
}
SIDE = {"layers": 1, "attention_heads": 2, "ffn_dim": 16}
SPEAKER = 4  # numbers in a voice's embedding
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
        **LAYER,
        vocab_size=len(vocabulary),
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
        **LAYER | {"num_hidden_layers": 2},
        vocab_size=len(characters),
        intermediate_size=16,
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
        **LAYER,
        **HIFIGAN,
        vocab_size=len(vocabulary),
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        prior_encoder_num_flows=1,
        posterior_encoder_num_wavenet_layers=1,
        prior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1,
        duration_predictor_filter_channels=16,
        depth_separable_num_layers=1,
    )
    VitsModel(config).save_pretrained(folder)
    return folder


def write_spectrogram_model(folder: Path) -> Path:
    """A SpeechT5 that makes spectrograms of 8 bands of letters, in the voice it is given, as long as it may."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from transformers import SpeechT5Config, SpeechT5ForTextToSpeech, SpeechT5Tokenizer

    torch.manual_seed(0)
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS)]),
        model_prefix=str(folder / "spm_char"),
        model_type="char",
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = SpeechT5Tokenizer(str(folder / "spm_char.model"))
    tokenizer.save_pretrained(folder)
    sides = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in SIDE.items()}
    config = SpeechT5Config(
        **sides,
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_mel_bins=8,
        speaker_embedding_dim=SPEAKER,
        speech_decoder_prenet_units=16,
        speech_decoder_postnet_layers=2,
        speech_decoder_postnet_units=16,
        speech_decoder_postnet_kernel=3,
    )
    model = SpeechT5ForTextToSpeech(config)
    with torch.no_grad():
        model.speech_decoder_postnet.prob_out.bias.fill_(-100)
    model.save_pretrained(folder)
    return folder


def write_vocoder(folder: Path) -> Path:
    """A HiFi-GAN that makes noise of spectrograms of 8 bands, at 8 kHz."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    torch.manual_seed(0)
    SpeechT5HifiGan(SpeechT5HifiGanConfig(**HIFIGAN, model_in_dim=8)).save_pretrained(folder)
    return folder


def write_speaker(path: Path, *values: float) -> str:
    np.save(path, np.array(values, np.float32))
    return str(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    return {
        "recognizer": write_recognizer(base / "ears"),
        "answerer": write_chat(base / "mind"),
        "synthesizer": write_synthesizer(base / "mouth"),
    }


@pytest.fixture(scope="module")
def spectrograms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A synthesiser that needs a vocoder and a speaker, as a cascade's file names them."""
    base = tmp_path_factory.mktemp("spectrograms")
    return {
        "model": str(write_spectrogram_model(base / "t5")),
        "vocoder": str(write_vocoder(base / "hifigan")),
        "speaker": write_speaker(base / "anna.npy", 1, 0, 0, 0),
    }


def whole_frames(pcm: Pcm) -> Pcm:
    """(F, 1280)."""
    return pcm[: len(pcm) // 1280 * 1280].reshape(-1, 1280)


def test_a_recogniser_hears_a_turn_as_a_whole(folders: dict[str, Path], question: Pcm) -> None:
    recognizer = PretrainedRecognizer(str(folders["recognizer"]))
    one, two = recognizer.open(), recognizer.open()
    one.begin()
    two.begin()
    for frame in whole_frames(question):
        one.hear(frame)
    whole = one.finish()
    assert whole
    assert whole == recognizer.transcribe(whole_frames(question).reshape(-1))
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


def test_spectrograms_become_sound_by_a_vocoder_in_the_voice_that_is_named(
    spectrograms: dict[str, str], tmp_path: Path
) -> None:
    synthesizer = PretrainedSynthesizer(**spectrograms)
    (sound,) = synthesizer.speak("hello")
    (again,) = synthesizer.speak("hello")
    assert np.array_equal(sound.pcm, again.pcm) and np.abs(sound.pcm).max() > 0
    assert synthesizer.voice.endswith("t5 anna")
    frames = len(sound.pcm) / 16000 * 8000 / 32  # of 32 samples at 8 kHz
    assert frames == pytest.approx(20 * len(synthesizer._synthesise.tokenizer("hello")["input_ids"]), abs=2)
    other = write_speaker(tmp_path / "peter.npy", 0, 0, 0, 5)
    (theirs,) = PretrainedSynthesizer(**{**spectrograms, "speaker": other}).speak("hello")
    assert theirs.pcm.shape == sound.pcm.shape and not np.allclose(theirs.pcm, sound.pcm)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"speaker": ""}, r"speaks in the voice it is given; name a \.npy file with \(4,\)"),
        ({"speaker": "short"}, r"short\.npy holds \(2,\); a voice of .* is \(4,\)"),
        ({"speaker": "/nowhere.npy"}, r"/nowhere\.npy is no \.npy file"),
        ({"vocoder": "nowhere"}, "nowhere: no such folder; a vocoder is"),
    ],
)
def test_what_a_spectrogram_model_lacks_is_one_line(
    change: dict[str, str], says: str, spectrograms: dict[str, str], tmp_path: Path
) -> None:
    short = write_speaker(tmp_path / "short.npy", 1, 2)
    given = {**spectrograms, **{name: short if value == "short" else value for name, value in change.items()}}
    with pytest.raises(ModelError, match=says) as caught:
        PretrainedSynthesizer(**given)
    assert "\n" not in str(caught.value)


def test_a_model_of_one_voice_takes_no_other(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has one voice; leave speaker out"):
        PretrainedSynthesizer(str(folders["synthesizer"]), speaker=write_speaker(tmp_path / "x.npy", 1))


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


def test_a_whole_cascade_by_name(folders: dict[str, Path], spectrograms: dict[str, str], tmp_path: Path) -> None:
    stages: dict[str, dict[str, Any]] = {
        name: {"use": "transformers", "model": str(folder)} for name, folder in folders.items()
    }
    stages["answerer"]["longest"] = 8
    stages["synthesizer"] |= spectrograms
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"name": "mine", **stages}))
    system = registry.load(f"cascade:{file}")
    assert isinstance(system, CascadeSystem)
    user = whole_frames(np.pad(load(QUESTION), (1280, 1280 * 30)))
    with system.open() as conversation:
        replies = [conversation.step(frame) for frame in user]
    events = [event for reply in replies for event in reply.events]
    assert any(isinstance(event, HeardWord) for event in events)
    assert any(isinstance(event, TextWord) for event in events)
    stopped = next(e.time for e in events if isinstance(e, Turn) and e.kind == "user_stopped")
    loud = [index for index, reply in enumerate(replies) if reply.pcm.any()]
    assert (loud[0] + 1) * 0.08 == pytest.approx(stopped)  # the frame after the one in which the turn was over
    names = [event.name for event in events if isinstance(event, Stage)]
    assert names[:4] == ["endpoint", "recognition", "answer", "synthesis"]
