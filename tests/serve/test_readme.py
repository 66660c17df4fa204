"""The README's client, typed as it stands there, against a server of the model in the box."""

from __future__ import annotations

from pathlib import Path

import pytest
from serve.conftest import serving
from test_readme import CLIENTS, ROOT

from duologue.systems import registry

pytest.importorskip("openai")


@pytest.mark.skipif(not (registry.BOX / "model.safetensors").is_file(), reason="there is no model in the box")
@pytest.mark.parametrize("code", CLIENTS)
def test_the_client_of_the_readme_gets_an_answer(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with serving(registry.load("box"), slots=1, keys=()) as served:
        exec(compile(code.replace("http://127.0.0.1:8080", served.http), str(Path("README.md")), "exec"), {})
    assert capsys.readouterr().out.strip()
