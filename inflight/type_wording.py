"""Types and bounds of a key in the words of its reader: `integer > 0`, `string or null`."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_NAMES = {int: "integer", float: "number", bool: "true or false", str: "string", type(None): "null"}
_BOUNDS = (
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Ge, "ge", ">="),
    (annotated_types.Lt, "lt", "<"),
    (annotated_types.Le, "le", "<="),
)


def members(annotation: Any) -> list[Any]:
    """The alternatives of a union, or the one type, without what `Annotated` adds."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in members(part)]
    return [annotation]


def is_model(annotation: Any) -> bool:
    """Whether this is a pydantic model, that is, a section with keys of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_free_form(field: FieldInfo) -> bool:
    """Whether the field holds a list or a mapping, whose parts may be set one by one."""
    return any((get_origin(part) or part) in (dict, list, tuple) for part in members(field.annotation))


def field_in_words(field: FieldInfo) -> str:
    """What may be written for the field."""
    bounds = " and ".join(
        f"{sign} {getattr(item, name):g}"
        for item in field.metadata
        for cls, name, sign in _BOUNDS
        if isinstance(item, cls)
    )
    wordings = [type_in_words(part) for part in members(field.annotation)]
    if bounds:
        wordings[0] += f" {bounds}"
    return " or ".join(wordings)


def type_in_words(annotation: Any) -> str:
    """One type, e.g. `list of strings`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(choice) for choice in args)
    if origin is list:
        return f"list of {type_in_words(members(args[0])[0])}s"
    if origin is tuple:
        return f"list of {len(args)} {type_in_words(args[0])}s"
    if origin is dict or is_model(annotation):
        return "mapping"
    return _NAMES.get(annotation, str(annotation))
