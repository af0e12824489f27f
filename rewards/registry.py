"""Find a grader by the name that the config gives it.

A name is that of a built-in grader, of an installed entry point of the group `inflight.graders`, or
`package.module:name`, or `path/to/file.py:name`. A name that does not resolve raises ValueError,
saying what exists and what to write.
"""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

ENTRY_POINT_GROUP = "inflight.graders"

_BUILT_IN = {
    "math_verify": "rewards.math_verify_grader:MathVerifyGrader",
    "reasoning_gym": "rewards.reasoning_gym_grader:ReasoningGymGrader",
}


def load_target(name: str) -> Callable[..., Any]:
    """The function or class that `name` stands for, with its module imported.

    The built-in graders load their libraries when they are constructed, so this stays cheap for them.

    Raises:
        ValueError: if there is no such grader, or its module cannot be imported.
    """
    located = _BUILT_IN.get(name, name)
    target: Callable[..., Any]
    if ":" in located:
        location, _, attribute = located.rpartition(":")
        target = _load_attribute(name, location, attribute)
    else:
        target = _load_entry_point(name)
    if not callable(target):
        raise ValueError(
            f"rewards.grader={name!r} is a {type(target).__name__}: a grader must be a function or a class"
        )
    return target


def _load_attribute(name: str, location: str, attribute: str) -> Any:
    module = _import_file(name, location) if location.endswith(".py") else _import_module(name, location)
    if not hasattr(module, attribute):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"rewards.grader={name!r}: {location} has no {attribute!r}. {_nearest(attribute, own)}")
    return getattr(module, attribute)


def _import_module(name: str, location: str) -> ModuleType:
    try:
        return importlib.import_module(location)
    except Exception as error:
        raise ValueError(
            f"rewards.grader={name!r}: importing {location!r} failed with {type(error).__name__}: {error}. "
            "A module must be importable where the run starts; for a plain file write path/to/file.py:name"
        ) from error


def _import_file(name: str, location: str) -> ModuleType:
    path = Path(location).expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"rewards.grader={name!r}: there is no file {path}")
    module_name = f"inflight_grader_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"rewards.grader={name!r}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickle look their module up by name, even while it is being executed.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise ValueError(
            f"rewards.grader={name!r}: running {path} failed with {type(error).__name__}: {error}"
        ) from error
    return module


def _load_entry_point(name: str) -> Any:
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in installed:
        raise ValueError(
            f"rewards.grader={name!r} is not a grader. {_nearest(name, [*_BUILT_IN, *installed])} For your "
            "own write package.module:name or path/to/file.py:name"
        )
    try:
        return installed[name].load()
    except Exception as error:
        raise ValueError(
            f"rewards.grader={name!r}: loading its entry point {installed[name].value!r} failed with "
            f"{type(error).__name__}: {error}"
        ) from error


def _nearest(name: str, choices: list[str]) -> str:
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}There are: {', '.join(sorted(choices)) or 'none'}."
