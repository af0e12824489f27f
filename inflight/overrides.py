"""Overrides from the command line, checked against the schema and the files before Hydra composes.

Hydra lets a plain `key=value` change only keys that some YAML file mentions, and asks for `+key=value`
otherwise. Here the schema says which keys exist, so every key of it can be set the same way.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from inflight.config_files import ConfigFiles
from inflight.refusal import Reason
from inflight.schema import schema
from inflight.validation import unknown_key


@dataclass(slots=True)
class Overrides:
    """What was read.

    Attributes:
        lines: for Hydra, in the order given.
        unknown: overrides of keys that do not exist; the rest can still be composed.
        unusable: overrides without which the rest would mean something else.
    """

    lines: list[str] = field(default_factory=list)
    unknown: list[Reason] = field(default_factory=list)
    unusable: list[Reason] = field(default_factory=list)


def read_overrides(texts: Sequence[str], files: ConfigFiles) -> Overrides:
    """Sort overrides into those that Hydra can apply and those to refuse."""
    read = Overrides()
    groups = files.groups()
    for text in texts:
        try:
            (override,) = OverridesParser.create().parse_overrides([text])
        except HydraException as error:
            read.unusable.append(Reason(text, _not_an_override(text, error, files)))
            continue
        key = override.key_or_group
        if override.is_sweep_override():
            read.unusable.append(Reason(text, _sweep(text, key)))
        elif key in groups or "/" in key or override.package is not None:
            _read_choice(text, override, files, read)
        elif not schema().knows(key):
            read.unknown.append(Reason(text, unknown_key(key, also=groups)))
        else:
            read.lines.append(text if override.is_delete() else f"++{text.lstrip('+')}")
    return read


def _read_choice(text: str, override: Override, files: ConfigFiles, read: Overrides) -> None:
    group, choice = override.key_or_group, override.value()
    options = files.options(group)
    if not options:
        problem = f"there is no folder {group}/ to choose from, only {', '.join(files.groups())}."
    elif override.is_delete() or (isinstance(choice, str) and choice in options):
        read.lines.append(text.lstrip("+"))
        return
    elif isinstance(choice, str):
        problem = f"there is no {group} {choice!r}. {_choices(choice, options)}"
    else:
        problem = f"{group}= takes the name of a file in the folder {group}/: {', '.join(options)}."
        if group in schema().sections:
            problem += f" To set one of its keys write {group}.KEY=VALUE; `inflight keys {group}` lists them."
    read.unusable.append(Reason(text, problem))


def _choices(given: str, options: dict[str, str]) -> str:
    near = difflib.get_close_matches(given, options, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    listed = "\n".join(f"  {name:<24} {description}" for name, description in options.items())
    return f"{hint}There are:\n{listed}"


def _not_an_override(text: str, error: HydraException, files: ConfigFiles) -> str:
    if text in files.options("experiment"):
        return f"is the name of an experiment. Write experiment={text}"
    key, equals, value = text.partition("=")
    if not equals:
        return "expected KEY=VALUE. Write for example trainer.steps=100, or experiment=quickstart"
    if not key.strip():
        return "there is no key before the =. Write for example trainer.steps=100"
    first_line = str(error).splitlines()[0]
    # Hydra's lexer only repeats the override.
    detail = "" if first_line.startswith("Lexer") else f" ({first_line})"
    return (
        f"the value cannot be read{detail}. Put text with special characters in double quotes, and all of it in "
        f"single quotes for the shell: '{key}=\"{value}\"'"
    )


def _sweep(text: str, key: str) -> str:
    value = text.partition("=")[2]
    return (
        f"gives several values to one run. Write '{key}=[{value}]' for a list, '{key}=\"{value}\"' for text; to "
        "try several values, start one run for each."
    )
