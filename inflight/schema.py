"""Every key of the configuration, read off the typed models: type, default, description."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from inflight.config import Config
from inflight.type_wording import field_in_words, is_free_form, is_model, members

# Below this, a suggestion is a guess that leads away from the key that was meant.
_NEAR = 0.75


@dataclass(frozen=True, slots=True)
class Key:
    """One key that holds a value.

    Attributes:
        path: dotted, from the root of the configuration.
        type: in words, with bounds, e.g. `integer > 0`.
        default: as JSON; None if the schema has none and a file of `configs/` or the user must give one.
        description: what it does.
        kind: the `kind` of the section that has this key; None if it does not depend on one.
        free_form: whether its value is a list or mapping whose parts may be set one by one.
    """

    path: str
    type: str
    default: str | None
    description: str
    kind: str | None = None
    free_form: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """All keys, the sections they stand in, and the kinds that a section may be of."""

    keys: list[Key] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)
    kinds: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def find(self, path: str) -> list[Key]:
        """The keys of this path, one for each kind that has it, or that whose free-form value it lies in."""
        exact = [key for key in self.keys if key.path == path]
        return exact or [
            key for key in self.keys if key.free_form and path.startswith((f"{key.path}.", f"{key.path}["))
        ]

    def knows(self, path: str) -> bool:
        """Whether something may be set at this path."""
        return path in self.sections or bool(self.find(path))

    def nearest(self, path: str, also: Iterable[str] = ()) -> list[str]:
        """At most three paths that a misspelt one may have meant, the likeliest first."""
        known = dict.fromkeys([key.path for key in self.keys] + self.sections + list(also))
        scores = {candidate: _likeness(path, candidate) for candidate in known}
        near = [candidate for candidate in known if scores[candidate] >= _NEAR]
        return sorted(near, key=lambda candidate: -scores[candidate])[:3]


@cache
def schema() -> Schema:
    """The schema of `Config`."""
    found = Schema()
    found.keys.extend(_keys(Config, "", None, found))
    return found


def to_json(value: Any) -> str:
    """A value as it may be written on the command line."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False)


def _keys(model: type[BaseModel], prefix: str, kind: str | None, found: Schema) -> Iterator[Key]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        parts = members(info.annotation)
        sections = [part for part in parts if is_model(part)]
        if not sections or type(None) in parts:
            yield _key(path, info, kind)
        if sections:
            found.sections.append(path)
        if len(sections) == 1:
            yield from _keys(sections[0], f"{path}.", kind, found)
        elif sections:
            found.kinds[path] = tuple(_kind(section) for section in sections)
            yield Key(f"{path}.kind", " | ".join(found.kinds[path]), None, "What kind of section this is.")
            for section in sections:
                keys = _keys(section, f"{path}.", _kind(section), found)
                yield from (key for key in keys if key.path != f"{path}.kind")


def _key(path: str, info: FieldInfo, kind: str | None) -> Key:
    return Key(
        path=path,
        type=field_in_words(info),
        default=None if info.is_required() else to_json(info.get_default(call_default_factory=True)),
        description=info.description or "",
        kind=kind,
        free_form=is_free_form(info),
    )


def _kind(section: type[BaseModel]) -> str:
    return str(get_args(section.model_fields["kind"].annotation)[0])


def _likeness(given: str, known: str) -> float:
    """Between 0 and 1; the last name counts most, for people remember it and not where it stands."""
    given_head, _, given_name = given.rpartition(".")
    known_head, _, known_name = known.rpartition(".")
    initials = "".join(word[0] for word in known_name.split("_"))
    abbreviated = len(given_name) > 1 and given_name == initials
    name = 1.0 if abbreviated else difflib.SequenceMatcher(None, given_name, known_name).ratio()
    head = difflib.SequenceMatcher(None, given_head, known_head).ratio()
    return 0.75 * name + 0.25 * head
