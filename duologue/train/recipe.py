"""Recipes: Python files that say what to train, on what and for how long, with every setting open to `key=value`."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from rich.console import Console

from duologue.errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)
Run = Callable[[Any, Path, Console | None], Any]


@dataclass(frozen=True)
class Recipe:
    """One recipe file: its configuration as written and what runs it as `run(config, folder, console)`."""

    name: str
    config: BaseModel
    run: Run


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe file, which defines `config` (a pydantic model's instance) and `run(config, folder, console)`.

    Raises:
        ConfigError: there is no such file, or it does not define the two.
    """
    file = Path(path)
    if not file.is_file():
        near = sorted(p.name for p in file.parent.glob("*.py")) if file.parent.is_dir() else []
        there = f"; {file.parent} has {', '.join(near)}" if near else ""
        raise ConfigError(f"no recipe at {file}{there}")
    name = f"recipe_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is not a Python file; a recipe is one that defines config and run")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # worker processes and pydantic look classes up by their module
    spec.loader.exec_module(module)
    config, run = getattr(module, "config", None), getattr(module, "run", None)
    if not isinstance(config, BaseModel) or not callable(run):
        raise ConfigError(f"{file} must define config (a pydantic model) and run(config, folder, console)")
    return Recipe(file.stem, config, run)


def override(config: Config, assignments: Sequence[str]) -> Config:
    """Return a copy of `config` with assignments such as `loop.steps=2000`, `seed=3` or `books=[4, 8]` applied.

    Dots go down into nested models. A value is text, a number, true or false, none, or JSON, as its field wants it. All
    assignments take effect at once, so two that only fit together may be given together.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named) or a value does not fit its field.
    """
    tree: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{assignment!r} is not an assignment; write key=value, such as loop.steps=1000")
        path = key.strip().split(".")
        branch = tree
        for depth, part in enumerate(path[:-1]):
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"{key} and {'.'.join(path[: depth + 1])} are both given a value; give one of them")
        if isinstance(branch.get(path[-1]), dict):
            raise ConfigError(f"{key} is given a value, and so is a setting inside it; give one of them")
        branch[path[-1]] = value.strip()
    return _apply(config, tree, "", list(_keys(config)))


def _apply(config: Config, tree: dict[str, Any], prefix: str, known: Sequence[str]) -> Config:
    fields = type(config).model_fields
    values = {name: getattr(config, name) for name in fields}
    for name, given in tree.items():
        key = prefix + name
        if name not in fields:
            raise ConfigError(f"unknown setting {key}; {_suggest(key, known)}")
        if isinstance(given, str):
            values[name] = _parse(fields[name], key, given)
        elif isinstance(values[name], BaseModel):
            values[name] = _apply(values[name], given, f"{key}.", known)
        else:
            raise ConfigError(f"{key} has no settings inside it ({key}.{next(iter(given))}); give {key}=VALUE")
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, prefix)) from error


def _parse(field: FieldInfo, key: str, text: str) -> Any:
    """Read `text` as the field's type: none first, then as it stands, then as JSON; the first that fits."""
    readings: list[Any] = [None] if text.lower() in ("none", "null") else []
    readings.append(text)
    with contextlib.suppress(json.JSONDecodeError):
        readings.append(json.loads(text))
    adapter: TypeAdapter[Any] = TypeAdapter(field.annotation or Any)
    failure: ValidationError | None = None
    for reading in readings:
        try:
            return adapter.validate_python(reading)
        except ValidationError as error:
            failure = error
    assert failure is not None
    raise ConfigError(f"{key}={text}: {_first(failure)}") from failure


def _explain(error: ValidationError, prefix: str) -> str:
    place = prefix + ".".join(map(str, error.errors()[0]["loc"]))
    given = error.errors()[0]["input"]
    shown = f"={given}" if error.errors()[0]["loc"] else ""
    return f"{place.rstrip('.') or 'the recipe'}{shown}: {_first(error)}"


def _first(error: ValidationError) -> str:
    message = error.errors()[0]["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _suggest(key: str, known: Sequence[str]) -> str:
    leaf = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, known, 1) or [name for name in known if name.rsplit(".", 1)[-1] == leaf]
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _keys(config: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(config).model_fields:
        yield prefix + name
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _keys(value, f"{prefix}{name}.")
