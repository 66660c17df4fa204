"""What the README tells a newcomer to type, typed: its Python, its commands, its links and its make targets.

Of all documents, every command is one that there is, with options that it has, and every link leads somewhere.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from systems.simple import write_tiny_model

from duologue import cli
from duologue.systems import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
CLIENTS = [code for language, code in BLOCKS if language == "python" and "127.0.0.1" in code]
"""What talks to a server; tests/serve/test_readme.py runs it against one."""
PYTHON = [code for language, code in BLOCKS if language == "python" and code not in CLIENTS]
LINES = [
    line.partition("  #")[0].strip() for language, code in BLOCKS if language == "sh" for line in code.splitlines()
]
COMMANDS = [line for line in LINES if line.startswith("duologue ")]
CANNOT_RUN = {
    "--mic": "it needs a sound card",
    " | ": "it is a pipe",
    "duologue train": "it takes longer than a test may; .ci/run trains the tiny recipe",
    "duologue eval": "it takes longer than a test may; .ci/run asks a few cases",
    "duologue synthesize": "tests/test_cli.py runs it",
}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("untrained"))


@pytest.fixture
def newcomer(tmp_path: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples; where no model is in the box, an untrained one of the same parts stands in."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    if not (registry.BOX / "model.safetensors").is_file():
        monkeypatch.setattr(registry, "BOX", untrained)
    return tmp_path


def test_there_is_something_to_run() -> None:
    assert len(PYTHON) == 1
    assert len(COMMANDS) >= 5


def test_the_python_runs(newcomer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(newcomer.iterdir())
    exec(compile(PYTHON[0], "README.md", "exec"), {})
    assert capsys.readouterr().out or set(newcomer.iterdir()) - before


def test_the_commands_run_in_order(newcomer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in COMMANDS:
        if not any(mark in line for mark in CANNOT_RUN):
            code = cli.main(shlex.split(line)[1:])
            printed = capsys.readouterr()
            assert code == 0, f"{line}\n{printed.err}"


def programs(document: str) -> list[str]:
    """What a document tells to type, in blocks and within the text: commands of ours and of benchmarks."""
    text = (ROOT / document).read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    starts = r"(?:^|&& |\| |=\S+ )((?:duologue|python benchmarks/\w+\.py) [^|>&]*)"
    return [" ".join(found.split()) for line in lines for found in re.findall(starts, line)]


PROGRAMS = sorted({(document, line) for document in DOCUMENTS for line in programs(document)})


@pytest.mark.parametrize(("document", "line"), PROGRAMS)
def test_the_options_exist(document: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line)
    if words[0] == "duologue":
        words = words[1:]
        depth = 2 if words[0] == "codec" else 1
        assert cli.main([*words[:depth], "--help"]) == 0
        known = capsys.readouterr().out
    else:
        known, depth = (ROOT / words[1]).read_text(), 2
        if len(words) > 2 and not words[2].startswith("-"):
            assert f"def {words[2]}(" in known
    for word in words[depth:]:
        if words[0] == "python" and word.startswith("--"):
            assert re.search(rf"^    {word[2:].replace('-', '_')}: ", known, re.M), word
        elif re.match(r"--?[a-z]", word):
            assert re.search(rf"{word}\b", known), word


def test_there_are_commands_in_every_document_that_has_a_server() -> None:
    assert {document for document, _ in PROGRAMS} >= {"README.md", "docs/serving.md", "docs/scaling.md"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_make_targets_exist(document: str) -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for pair in re.findall(r"`make ([a-z]+)|^make ([a-z]+)", (ROOT / document).read_text(), re.M):
        assert "".join(pair) in known
