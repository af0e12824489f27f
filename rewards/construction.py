"""Check that a grader fits its options and the contract, and construct it.

The driver checks before anything starts; each grader process constructs.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from rewards.contract import Grader
from rewards.registry import load_target


def check_grader(name: str, options: Mapping[str, Any]) -> None:
    """Find the grader and hold its signature against the options, without constructing it.

    A built-in grader's libraries are not imported; a plug-in's module is.

    Raises:
        ValueError: naming `rewards.grader` or `rewards.options`, if the run could not grade with it.
    """
    _check(name, load_target(name), options)


def construct_grader(name: str, options: Mapping[str, Any]) -> Grader:
    """The grader, ready to be called.

    Raises:
        ValueError: as `check_grader`. What a class raises in its constructor passes through.
    """
    target = load_target(name)
    _check(name, target, options)
    grader: Any = target(**options) if inspect.isclass(target) else partial(target, **options)
    return cast(Grader, grader)


def _check(name: str, target: Callable[..., Any], options: Mapping[str, Any]) -> None:
    if inspect.isclass(target):
        _bind(f"rewards.options of grader {name!r}", target, (), options)
        if not any("__call__" in vars(base) for base in target.__mro__):
            raise ValueError(f"rewards.grader={name!r}: the class has no __call__(problem, completion)")
        call: Callable[..., Any] = target.__call__
        _bind(f"__call__ of rewards.grader={name!r}", call, ("self", "problem", "completion"), {})
    else:
        call = target
        _bind(f"rewards.grader={name!r} and rewards.options", target, ("problem", "completion"), options)
    if inspect.iscoroutinefunction(call):
        raise ValueError(
            f"rewards.grader={name!r} is asynchronous: write a plain function, which may block because "
            "it has a process of its own"
        )
    _check_types(name, target, options)


def _bind(what: str, target: Callable[..., Any], args: tuple[str, ...], options: Mapping[str, Any]) -> None:
    signature = inspect.signature(target)
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        given = f"({', '.join([*args, *options])})"
        raise ValueError(f"{what}: {error}. The signature is {signature}, the call is {given}") from error


def _check_types(name: str, target: Callable[..., Any], options: Mapping[str, Any]) -> None:
    annotated: Any = target.__init__ if inspect.isclass(target) else target
    try:
        hints = get_type_hints(annotated)
    except (NameError, TypeError):
        return  # hints that are not defined at run time bind nobody
    for option, value in options.items():
        if option in hints:
            _check_type(f"rewards.options.{option} of grader {name!r}", hints[option], value)


def _check_type(what: str, hint: Any, value: Any) -> None:
    try:
        TypeAdapter(hint).validate_python(value)
    except PydanticSchemaGenerationError:
        return  # a type of the plug-in's own, which only its constructor can judge
    except ValidationError as error:
        problems = "; ".join(detail["msg"] for detail in error.errors())
        raise ValueError(f"{what} is {value!r}: {problems}") from error
