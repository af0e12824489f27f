"""Metrics arrive in every place that was asked for, and survive a kill."""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from inflight.metrics_writer import MetricsWriter


def lines(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_one_line_of_json_per_step(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path / "run", tensorboard=False, wandb_project=None) as writer:
        writer.write(1, {"reward/mean": 0.5, "staleness/max": 2})
        first = lines(tmp_path / "run")  # flushed, before the file is closed
        writer.write(2, {"reward/mean": float("nan"), "loss": float("inf")})
    assert [(line["step"], line["reward/mean"]) for line in first] == [(1, 0.5)]
    assert first[0]["time"] > 1.7e9
    assert lines(tmp_path / "run")[1] | {"time": 0} == {"step": 2, "time": 0, "reward/mean": None, "loss": None}
    assert not list((tmp_path / "run").glob("events*"))


def test_a_half_written_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "rew')
    with MetricsWriter(tmp_path, tensorboard=False, wandb_project=None) as writer:
        writer.write(3, {})
    with MetricsWriter(tmp_path, tensorboard=False, wandb_project=None) as writer:
        writer.write(4, {})
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(written) == 4
    assert [json.loads(line)["step"] for line in (written[0], *written[2:])] == [1, 3, 4]


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom inflight.metrics_writer import MetricsWriter\n"
        "writer = MetricsWriter(Path(sys.argv[1]), True, None)\n"
        "writer.write(1, {'reward/mean': 1.0})\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, cwd=os.getcwd())
    assert done.returncode == -signal.SIGKILL
    assert lines(tmp_path)[0]["reward/mean"] == 1.0


def test_tensorboard_reads_the_scalars(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, tensorboard=True, wandb_project=None) as writer:
        writer.write(1, {"reward/mean": 0.25})
        writer.write(2, {"reward/mean": 0.5, "staleness/max": 2})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    scalars = events.Scalars("reward/mean")
    assert [(scalar.step, scalar.value) for scalar in scalars] == [(1, 0.25), (2, 0.5)]
    assert events.Scalars("staleness/max")[0].value == 2


def test_tensorboard_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom inflight.metrics_writer import MetricsWriter\n"
        "with MetricsWriter(Path(sys.argv[1]), True, None) as writer:\n    writer.write(1, {'a': 1.0})\n"
        "assert not {'torch', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=True)


def write_and_be_interrupted(run_dir: Path) -> None:
    with MetricsWriter(run_dir, tensorboard=False, wandb_project="sums") as writer:
        writer.write(1, {"reward/mean": 0.5})
        raise KeyboardInterrupt


class Wandb:
    """Records what Weights & Biases is asked to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def init(self, **options: Any) -> SimpleNamespace:
        self.calls.append(("init", options))
        return SimpleNamespace(
            log=lambda metrics, step: self.calls.append(("log", (step, metrics))),
            finish=lambda exit_code: self.calls.append(("finish", exit_code)),
        )


def test_wandb_gets_every_step_and_the_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(KeyboardInterrupt):
        write_and_be_interrupted(tmp_path / "run")
    assert wandb.calls == [
        ("init", {"project": "sums", "name": "run", "dir": str(tmp_path / "run")}),
        ("log", (1, {"reward/mean": 0.5})),
        ("finish", 1),
    ]


def test_wandb_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"run\.tracking\.wandb_project='sums' needs the package wandb"):
        MetricsWriter(tmp_path, tensorboard=False, wandb_project="sums")
