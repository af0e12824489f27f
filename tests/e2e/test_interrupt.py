"""Ctrl-C, or the SIGTERM of `ray job stop`, ends a run cleanly wherever it is."""

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.checkpoints import random_checkpoint
from tests.e2e.command import Command

pytestmark = pytest.mark.e2e

# What is promised to the user.
SECONDS_TO_END = 15.0

PHASES = {
    "while Ray starts": "Starting Ray",
    "while the tiny model is taught": "Teaching a tiny model",
    "while engines start": "Starting engines and trainer",
    "during training": "step 1/",
}


@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupt_leaves_nothing_behind_and_says_how_to_go_on(phase: str, tmp_path: Path) -> None:
    arguments = ["experiment=quickstart", "trainer.steps=1000", "evaluation=none", f"run.dir={tmp_path / 'run'}"]
    if phase in ("while engines start", "during training"):
        checkpoint = random_checkpoint(tmp_path / "model", tied=True)
        arguments += ["model=checkpoint", f"model.path={checkpoint}"]
    number = signal.SIGTERM if phase == "during training" else signal.SIGINT
    with Command("train", *arguments) as command:
        command.wait_for(PHASES[phase], timeout=120)
        command.interrupt(number)
        status, output = command.finish(timeout=SECONDS_TO_END)
        assert command.processes() == []
    assert status == 130, output
    assert "Interrupted." in output
    assert "inflight train experiment=quickstart" in output
    assert "Traceback" not in output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["processes_left"] == 0
    if phase == "during training":
        assert summary["steps"] >= 1
        assert (Path(summary["checkpoint"]) / "config.json").exists()
        assert f"model.path={summary['checkpoint']}" in output
