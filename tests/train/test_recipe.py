"""Recipes: found, read, and every setting open to key=value."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, PositiveInt

from duologue.errors import ConfigError
from duologue.train.loop import LoopConfig
from duologue.train.recipe import load_recipe, override


class Model(BaseModel):
    model_config = ConfigDict(frozen=True)
    dims: list[int] = [64, 64]
    heads: PositiveInt = 4


class Settings(BaseModel):
    name: str = "toy"
    note: str | None = None
    folder: Path = Path("runs")
    rate: float = 1e-3
    compile: bool = False
    model: Model = Model()
    loop: LoopConfig = LoopConfig(steps=10)


def test_assignments_take_effect_and_leave_the_rest() -> None:
    before = Settings()
    assignments = ["name=123", "note=a=b", "folder=/tmp/x", "rate=3e-4", "compile=true"]
    after = override(before, [*assignments, "model.dims=[8, 16]", "loop.schedule.shape=cosine"])
    assert (after.name, after.note, after.folder) == ("123", "a=b", Path("/tmp/x"))
    assert after.rate == 3e-4 and after.compile is True
    assert after.model == Model(dims=[8, 16]) and after.loop.schedule.shape == "cosine" and after.loop.steps == 10
    assert before == Settings()
    assert override(after, ["note=none"]).note is None
    assert override(before, []) == before


def test_assignments_that_only_fit_together_may_come_together() -> None:
    for order in (["loop.steps=none", "loop.seconds=60"], ["loop.seconds=60", "loop.steps=null"]):
        loop = override(Settings(), order).loop
        assert (loop.steps, loop.seconds) == (None, 60.0)


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("loop.step=3", "unknown setting loop.step; did you mean loop.steps?"),
        ("steps=3", "unknown setting steps; did you mean loop.steps?"),
        ("modle.heads=3", "unknown setting modle; did you mean model?"),
        ("zzz=3", "unknown setting zzz; there are name, note, "),
        ("rate=fast", "rate=fast: input should be a valid number"),
        ("model.heads=-1", "model.heads=-1: input should be greater than 0"),
        ("model.dims=[a", r"model.dims=\[a: input should be a valid list"),
        ("loop.steps=none", "loop: steps or seconds must be given"),
        ("loop.schedule.shape=linear", "loop.schedule.shape=linear: input should be 'wsd', 'cosine' or 'constant'"),
        ("rate", "'rate' is not an assignment; write key=value"),
        ("rate.x=1", "rate has no settings inside it"),
        ("loop=3", "loop=3: input should be a valid dictionary"),
    ],
)
def test_what_cannot_be_set_is_one_line(assignment: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as error:
        override(Settings(), [assignment])
    assert "\n" not in str(error.value)


def test_a_key_and_its_inside_cannot_both_be_set() -> None:
    for order in (["loop=3", "loop.steps=1"], ["loop.steps=1", "loop=3"]):
        with pytest.raises(ConfigError, match="loop"):
            override(Settings(), order)


def test_a_recipe_is_a_file_with_config_and_run(tmp_path: Path) -> None:
    file = tmp_path / "tiny.py"
    file.write_text(
        "from __future__ import annotations\n"
        "from pydantic import BaseModel\n"
        "class Settings(BaseModel):\n    width: int = 4\n"
        "config = Settings()\n"
        "def run(config, folder, console):\n    return config.width\n"
    )
    recipe = load_recipe(file)
    assert recipe.name == "tiny"
    assert recipe.run(override(recipe.config, ["width=9"]), tmp_path, None) == 9
    with pytest.raises(ConfigError, match=r"no recipe at .*tine.py; .* has tiny.py"):
        load_recipe(tmp_path / "tine.py")
    file.write_text("config = 3\n")
    with pytest.raises(ConfigError, match="must define config"):
        load_recipe(file)
