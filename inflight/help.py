"""The longer texts of the command line, made from the typed models and the files that exist."""

from __future__ import annotations

import shutil
import textwrap

from inflight.config_files import ConfigFiles
from inflight.schema import Key, schema

_MOST_USED = (
    "model.path",
    "curriculum.held_out",
    "rollout.workers",
    "rollout.completions_per_group",
    "rollout.sampling.max_tokens",
    "replay.max_staleness",
    "replay.groups_per_batch",
    "trainer.steps",
    "trainer.ranks",
    "trainer.optimizer.learning_rate",
    "evaluation.problems",
    "run.dir",
)


def train_epilog() -> str:
    """Experiments, groups, the most used keys, and where the rest is."""
    files = ConfigFiles()
    parts = ["experiments:"]
    parts += [_entry(f"experiment={name}", text) for name, text in files.options("experiment").items()]
    parts += ["", "groups, of each of which one file is chosen:"]
    parts += [
        _entry(f"{group}=", " | ".join(files.options(group))) for group in files.groups() if group != "experiment"
    ]
    parts += ["", "the most used keys (`inflight keys [PREFIX]` lists all with type, default and description):"]
    parts += [_entry(key.path, key.description) for path in _MOST_USED for key in schema().find(path)]
    parts += [
        "",
        "examples:",
        "  inflight train experiment=quickstart",
        "  inflight train experiment=quickstart trainer.steps=50 replay.max_staleness=0",
        "  inflight train --config-dir my_configs experiment=mine --check",
    ]
    return "\n".join(parts)


def key_list(prefix: str) -> str:
    """Every key that begins with the prefix; empty if there is none."""
    return "".join(_paragraph(key) for key in schema().keys if key.path.startswith(prefix))


def _entry(name: str, text: str) -> str:
    return textwrap.fill(text, width=_width(), initial_indent=f"  {name:<32} ", subsequent_indent=" " * 35)


def _paragraph(key: Key) -> str:
    default = "no default" if key.default is None else f"default {key.default}"
    section = key.path.rpartition(".")[0]
    only = "" if key.kind is None else f"  (with {section}.kind={key.kind})"
    described = textwrap.fill(key.description, width=_width(), initial_indent="    ", subsequent_indent="    ")
    return f"{key.path}: {key.type}, {default}{only}\n{described}\n"


def _width() -> int:
    return max(60, min(110, shutil.get_terminal_size().columns))
