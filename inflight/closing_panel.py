"""The last thing a successful run shows: what came out, where it is, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from inflight.progress import duration


def closing_panel(summary: Mapping[str, Any], *, ascii_only: bool = False) -> Panel:
    """A panel with what the summary knows; what is missing in it or None is left out.

    Args:
        summary: the values of `summary.json`, and `run_dir`.
        ascii_only: whether the terminal shows nothing else.
    """
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(summary, "->" if ascii_only else "→"):
        facts.add_row(name, Text(value))
    return Panel(facts, title="The run is finished", border_style="green", expand=False)


def next_commands(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What to try next: purposes and commands, which stand outside the panel so that they can be copied.

    Args:
        summary: as for the panel, and `overrides`, those of the command line.
    """
    overrides: Sequence[str] = summary.get("overrides", ())
    again = [override for override in overrides if not override.startswith("run.dir=")]
    advice = []
    if summary.get("run_dir") is not None:
        advice.append(("Look at the curves", ["tensorboard", "--logdir", str(summary["run_dir"])]))
    if summary.get("checkpoint") is not None:
        kept = [override for override in again if not override.startswith(("model=", "model."))]
        chosen = ["model=checkpoint", f"model.path={summary['checkpoint']}"]
        advice.append(("Train on from these weights", ["inflight", "train", *kept, *chosen]))
    if (summary.get("staleness_max") or 0) > 0:
        kept = [override for override in again if not override.startswith(("replay=", "replay.max_staleness="))]
        command = ["inflight", "train", *kept, "replay.max_staleness=0"]
        advice.append(("See what asynchrony gains, by a run without it", command))
    return [(purpose, shlex.join(command)) for purpose, command in advice]


def _facts(summary: Mapping[str, Any], arrow: str) -> list[tuple[str, str]]:
    facts = []
    before, after = summary.get("pass_at_1_before"), summary.get("pass_at_1_after")
    if before is not None and after is not None:
        facts.append(("pass@1 on held-out problems", f"{before:.1%} {arrow} {after:.1%}"))
    if (steps := summary.get("steps")) is not None:
        took = f" in {duration(summary['wall_seconds'])}" if summary.get("wall_seconds") is not None else ""
        facts.append(("training steps", f"{steps}{took}"))
    if summary.get("staleness_mean") is not None:
        facts.append(("staleness", f"{summary['staleness_mean']:.2f} mean, {summary['staleness_max']} max"))
    if summary.get("checkpoint") is not None:
        facts.append(("checkpoint", str(summary["checkpoint"])))
    if summary.get("run_dir") is not None:
        facts.append(("metrics", f"{summary['run_dir']}/metrics.jsonl"))
    return facts
