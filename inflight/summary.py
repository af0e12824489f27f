"""What a run did, added up step by step and written as `summary.json`."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from replay.batch_summary import BatchSummary
from rollout.worker import RolloutStatistics


class RunSummary:
    """Totals of a run. Times are in seconds on the wall clock, from the start of the command."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._steps = 0
        self._completions = 0
        self._tokens = 0
        self._staleness_sum = 0
        self._staleness_max = 0
        self._spanning = 0
        self._truncated = 0
        self._outcomes: Counter[str] = Counter()
        self._rollouts: Sequence[RolloutStatistics] = ()
        self.phase_seconds: dict[str, float] = {}
        self.startup_seconds: float | None = None
        self.pass_at_1_before: float | None = None
        self.pass_at_1_after: float | None = None
        self.checkpoint: str | None = None
        self.processes_left: int | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase of the run."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.phase_seconds[name] = round(time.monotonic() - began, 3)

    def start_up_is_over(self) -> None:
        self.startup_seconds = round(time.monotonic() - self._began, 3)

    def add_batch(self, batch: BatchSummary) -> None:
        """A batch that was trained on."""
        self._steps += 1
        self._completions += batch.completions
        self._tokens += batch.tokens
        self._staleness_sum += batch.staleness_sum
        self._staleness_max = max(self._staleness_max, batch.staleness_max)
        self._spanning += batch.completions_spanning_versions
        self._truncated += batch.truncated
        self._outcomes.update(batch.outcomes)

    def set_rollouts(self, statistics: Sequence[RolloutStatistics]) -> None:
        """The workers' totals so far."""
        self._rollouts = statistics

    def values(self) -> dict[str, Any]:
        """Everything under the names of `summary.json`."""
        updates = sum(worker.weight_updates for worker in self._rollouts)
        pauses = sum(worker.pause_seconds for worker in self._rollouts)
        return {
            "pass_at_1_before": self.pass_at_1_before,
            "pass_at_1_after": self.pass_at_1_after,
            "steps": self._steps,
            "wall_seconds": round(time.monotonic() - self._began, 3),
            "startup_seconds": self.startup_seconds,
            "phase_seconds": self.phase_seconds,
            "trained_completions": self._completions,
            "trained_tokens": self._tokens,
            "generated_tokens": sum(worker.generated_tokens for worker in self._rollouts),
            "staleness_mean": self._staleness_sum / self._tokens if self._tokens else None,
            "staleness_max": self._staleness_max if self._tokens else None,
            "weight_updates": updates,
            "weight_update_pause_seconds_mean": pauses / updates if updates else None,
            "completions_spanning_versions": self._spanning,
            "completions_truncated": self._truncated,
            "grades": dict(sorted(self._outcomes.items())),
            "checkpoint": self.checkpoint,
            "processes_left": self.processes_left,
        }

    def write(self, path: Path) -> None:
        """Write the file complete or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self.values(), indent=2) + "\n")
        os.replace(partial, path)
