"""The package as it is shipped: free of the GPL in what talks, rooms that know only lower ones, small weights."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import duologue

PACKAGE = Path(duologue.__file__).parent
ROOT = PACKAGE.parent
BOX = PACKAGE / "models" / "box"
LARGEST_BOX = 48_000_000  # bytes of weights that the package may carry

GPL = {"espeakng_loader", "phonemizer", "py_espeak_ng", "parselmouth", "av"}
ROOMS = ("nn", "audio", "codec", "lm", "systems", "data", "eval", "train", "serve", "commands")
"""From the lowest to the highest: a room imports from itself and from those before it."""
TALKS = ("audio", "nn", "codec", "lm", "systems", "serve")
WEBRTC = {"duologue.serve.webrtc", "duologue.serve.voice"}
"""Behind an extra, and loaded with the first call: aiortc stands on PyAV, whose wheels hold libraries under the GPL."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(module: str) -> frozenset[str]:
    """Every module that this one imports, also inside functions; those of ours in full, of others the first name."""
    return frozenset(_imports(ast.walk(ast.parse(MODULES[module].read_text()))))


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if not name.startswith("duologue"):
                yield name.partition(".")[0]
            elif name in MODULES:
                yield name


def _run_on_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: neither what stands in functions nor what is for the type checker."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _run_on_import(child)


def needed_by(script: Path) -> set[str]:
    """The packages that are imported, by their first names, when a script is."""
    found: set[str] = set()
    waiting = set(_imports(_run_on_import(ast.parse(script.read_text()))))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in MODULES:
                waiting.add(name.rpartition(".")[0] or name)
                waiting |= set(_imports(_run_on_import(ast.parse(MODULES[name].read_text()))))
    return {name for name in found if name not in MODULES and name not in sys.stdlib_module_names}


def reachable(module: str) -> set[str]:
    """All that can come to be imported through a module, of ours and of others."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imports(name) if name in MODULES else ()
    return found


def room_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) in TALKS and name not in WEBRTC])
def test_what_talks_cannot_reach_the_gpl(module: str) -> None:
    assert not reachable(module) & GPL


@pytest.mark.parametrize("command", ["talk", "serve", "info", "codec"])
def test_commands_that_talk_cannot_reach_the_gpl(command: str) -> None:
    assert not reachable(f"duologue.commands.{command}") & GPL


def test_the_command_line_and_the_systems_load_nothing_of_the_gpl() -> None:
    modules = ["duologue.cli", *(name for name in MODULES if room_of(name) in TALKS and name not in WEBRTC)]
    code = f"import sys, {', '.join(modules)}; print(*sorted({GPL!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_core_depends_on_nothing_of_the_gpl() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = " ".join(project["dependencies"] + project["optional-dependencies"]["mic"]).replace("-", "_")
    assert not any(name in core for name in GPL)


@pytest.mark.parametrize("recipe", ["box", "tiny"])
def test_the_extras_of_training_bring_what_a_recipe_imports(recipe: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = (*project["dependencies"], *extras["train"], *extras["synth"])
    brought = {line.partition(">=")[0].lower().replace("-", "_") for line in lines}
    needed = needed_by(ROOT / "recipes" / f"{recipe}.py")
    assert {"torch", "pystoi", "jiwer"} <= needed, "the walk has come to training and its measures"
    assert needed <= brought


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) in ROOMS])
def test_rooms_know_only_lower_rooms(module: str) -> None:
    height = ROOMS.index(room_of(module))
    higher = {name for name in imports(module) if room_of(name) in ROOMS[height + 1 :] or name == "duologue.cli"}
    assert not higher


def test_every_room_is_listed() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text()))


def test_the_model_in_the_box_is_complete_and_small() -> None:
    if not BOX.is_dir():
        pytest.skip("there is no model in duologue/models/box yet")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "card.json", "README.md"):
        assert (BOX / name).is_file()
    assert sum(path.stat().st_size for path in BOX.rglob("*.safetensors")) <= LARGEST_BOX


def test_every_direct_dependency_is_pinned_by_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if not line.startswith("#")}
    for line in wanted:
        name = line.partition(">=")[0].partition("[")[0].lower().replace("_", "-")
        if name == "duologue":
            continue
        assert name in pinned
        assert ",<" in line, "both ends of a range are given"
