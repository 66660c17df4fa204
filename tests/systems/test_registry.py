"""Finding models, and telling what is wrong with a model folder in one line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from systems.simple import write_tiny_model

from duologue.errors import ModelError
from duologue.systems import registry


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def one_line(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        registry.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_without_a_card_tells_what_it_can(tiny: Path) -> None:
    card = registry.read_card(tiny)
    assert (card.name, card.hears) == ("tiny", ("features",))
    assert card.parameters is not None
    assert card.parameters > 10_000


def test_the_card_is_read(model: Path) -> None:
    (model / "card.json").write_text(json.dumps({"name": "small", "hears": ["features"], "licence": "Apache-2.0"}))
    assert registry.load(model).card.name == "small"


@pytest.mark.parametrize("name", registry.FILES)
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    assert name in one_line(model)


@pytest.mark.parametrize("name", registry.FILES)
@pytest.mark.parametrize("size", [0, 7, 1000])
def test_a_truncated_file_is_named(model: Path, name: str, size: int) -> None:
    os.truncate(model / name, size)
    assert name in one_line(model)
    (model / "card.json").write_text(json.dumps({"name": "small", "hears": ["features"]}))
    with pytest.raises(ModelError, match=name):
        registry.read_card(model)


@pytest.mark.parametrize("content", ["[]", "{}", '{"name": 3}', "\x00\x01", '{"name": "a", "hears": ["smells"]}'])
@pytest.mark.parametrize("name", ["config.json", "card.json"])
def test_a_wrong_description_is_named(model: Path, name: str, content: str) -> None:
    (model / name).write_text(content)
    assert name in one_line(model)


def test_weights_of_another_shape_are_refused(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["pacer"]["dim"] = 24
    (model / "config.json").write_text(json.dumps(config))
    assert "pacer" in one_line(model)


def test_a_tokeniser_of_another_size_is_refused(model: Path) -> None:
    from duologue.lm.text import TextTokenizer

    TextTokenizer.train(["another one"], size=40).save(model / "tokenizer.json")
    assert "tokeniser" in one_line(model)


def test_a_card_of_another_rate_is_refused(model: Path) -> None:
    (model / "card.json").write_text(json.dumps({"name": "a", "hears": ["features"], "sample_rate": 8000}))
    assert "16000 Hz" in one_line(model)


def test_names_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such folder" in one_line(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    assert "is a file" in one_line(tmp_path / "file")
    monkeypatch.setattr(registry, "BOX", tmp_path / "box")
    assert "not installed" in one_line(Path("box"))


def test_a_hub_model_offline_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert "Hugging Face" in one_line(Path("nobody/no-such-model"))


def test_the_codec_of_a_model_and_of_a_codec_folder(tiny: Path, tmp_path: Path) -> None:
    codec, fingerprint = registry.load_codec(tiny)
    codec.save(tmp_path / "codec")  # type: ignore[operator]
    alone, same = registry.load_codec(tmp_path / "codec")
    assert codec.card == alone.card
    assert fingerprint == same
