"""Where the metrics of a run go: `metrics.jsonl` always, TensorBoard and Weights & Biases when asked."""

from __future__ import annotations

import importlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class MetricsWriter:
    """Writes each step's metrics to every place that was asked for.

    A line of `metrics.jsonl` is `{"step": ..., "time": seconds since 1970, "reward/mean": ...}`; NaN and
    infinities become null, so that every line is JSON. A step that is written twice, as after a resume,
    has two lines, of which the later one holds.
    """

    def __init__(self, run_dir: Path, tensorboard: bool, wandb_project: str | None) -> None:
        """Open everything; `run_dir` is made if it is missing.

        Raises:
            ImportError: if W&B is asked for and not installed.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        self._wandb = None if wandb_project is None else _start_wandb(wandb_project, run_dir)
        self._file = _open_for_lines(run_dir / "metrics.jsonl")
        self._events = _EventFile(run_dir) if tensorboard else None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one step; what was written is safe from a kill of this process."""
        now = time.time()
        values = {name: float(value) for name, value in metrics.items()}
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "time": round(now, 3), **line}).encode() + b"\n")
        self._file.flush()
        if self._events is not None:
            self._events.write(step, now, values)
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def close(self) -> None:
        """Flush and close everything."""
        self._close(exit_code=0)

    def _close(self, exit_code: int) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=exit_code)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(exit_code=0 if kind is None else 1)


class _EventFile:
    """TensorBoard's own event writer, which needs neither torch nor TensorFlow."""

    def __init__(self, run_dir: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]

        self._writer: Any = EventFileWriter(str(run_dir), flush_secs=10)

    def write(self, step: int, now: float, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(Event(wall_time=now, step=step, summary=Summary(value=scalars)))

    def close(self) -> None:
        self._writer.close()


def _open_for_lines(path: Path) -> Any:
    file = path.open("ab+")
    # A process killed in the middle of a line must not spoil the next one.
    if file.tell() > 0:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def _start_wandb(project: str, run_dir: Path) -> Any:
    try:
        wandb: Any = importlib.import_module("wandb")
    except ImportError as error:
        raise ImportError(
            f"run.tracking.wandb_project={project!r} needs the package wandb: run `pip install wandb`, or write "
            "run.tracking.wandb_project=null"
        ) from error
    return wandb.init(project=project, name=run_dir.name, dir=str(run_dir))
