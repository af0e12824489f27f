"""From pydantic's errors to reasons that name the dotted key, what was given, expected, and to be written."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from inflight.refusal import Reason, RunRefusedError
from inflight.schema import Key, schema, to_json


def explain(error: ValidationError, data: Mapping[str, Any]) -> list[Reason]:
    """One reason for every key that pydantic objects to.

    Args:
        error: what validating `data` raised.
        data: the composed configuration.
    """
    reasons: dict[str, list[Reason]] = {}
    for detail in error.errors(include_url=False):
        path, kind = _locate(detail["loc"])
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, RunRefusedError):
            found = list(cause.reasons)
        elif detail["type"] == "value_error":
            found = [Reason(path, f"{cause}")]
        elif detail["type"] == "extra_forbidden":
            found = [Reason(path, unknown_key(path, kind))]
        elif detail["type"] == "missing" and _value(data, path) is None:
            found = [Reason(path, required(path))]
        elif detail["type"].startswith("union_tag_"):
            found = [_wrong_value(f"{path}.kind", _value(data, f"{path}.kind"))]
        else:
            found = [_wrong_value(path, _value(data, path))]
        # A union objects once for each of its alternatives.
        reasons.setdefault(found[0].where, found)
    return [reason for found in reasons.values() for reason in found]


def unknown_key(path: str, kind: str | None = None, also: Iterable[str] = ()) -> str:
    """What to say of a key that does not exist, or not in a section of this kind."""
    section = path.rpartition(".")[0]
    others = [key.kind for key in schema().find(path) if key.kind is not None]
    if kind is not None and others:
        return (
            f"belongs to kind: {' or '.join(others)}, and {section} is of kind: {kind}. Choose a file that has the "
            f"kind you want, {section.partition('.')[0]}=NAME, or remove this key: ~{path}"
        )
    near = schema().nearest(path, also)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"See `inflight keys{f' {section}' if section else ''}`."
    return f"there is no such key. {hint}"


def required(path: str) -> str:
    """What to say of a key that has no value and needs one."""
    if path in schema().sections and "." in path:
        return f"has no values, and some of its keys need one. `inflight keys {path}` lists them."
    if path in schema().sections:
        return f"nothing is chosen. Write {path}=NAME with a file of the folder {path}/, or choose an experiment."
    key = schema().find(path)[0]
    return f"has no value, and needs one: {key.type}. {key.description}\nWrite {path}={_example(key)}"


def _locate(loc: tuple[int | str, ...]) -> tuple[str, str | None]:
    """The dotted key and the kind of its section: pydantic puts names of alternatives between the names of keys."""
    path, kind = "", None
    for part in loc:
        if path in schema().kinds and part in schema().kinds[path]:
            kind = str(part)
            continue
        if any(key.path == path for key in schema().keys) and path not in schema().sections:
            break
        path = f"{path}.{part}" if path else str(part)
    return path, kind


def _value(data: Mapping[str, Any], path: str) -> Any:
    value: Any = data
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _wrong_value(path: str, value: Any) -> Reason:
    keys = schema().find(path)
    if not keys:
        return Reason(path, f"got {to_json(value)}, expected a mapping. `inflight keys {path}` lists its keys.")
    key = keys[0]
    return Reason(path, f"got {to_json(value)}, expected {key.type}. {_correction(key, value)}")


def _correction(key: Key, value: Any) -> str:
    takes_text = "string" in key.type
    if takes_text and isinstance(value, int | float):
        return f"Put it in quotes: '{key.path}=\"{to_json(value)}\"'"
    if "integer" in key.type and isinstance(value, float) and value.is_integer():
        return f"Write {key.path}={int(value)}"
    if isinstance(value, str) and not takes_text:
        choices = key.type.replace("true or false", "true | false").split(" | ")
        near = difflib.get_close_matches(value, choices, n=1, cutoff=0.4)
        if near:
            return f"Write {key.path}={near[0]}"
    return f"Write for example {key.path}={_example(key)}"


def _example(key: Key) -> str:
    if key.default not in (None, "null", "{}", "[]"):
        return str(key.default)
    if " | " in key.type:
        return key.type.partition(" | ")[0]
    examples = {"integer": "8", "number": "1e-5", "string": "...", "list": "[...]", "mapping": "{...}"}
    return examples[key.type.split()[0]]
