"""The summary adds up what was trained on, and is there whole or not at all."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from inflight.summary import RunSummary
from replay.batch_summary import BatchSummary
from rollout.worker import RolloutStatistics

PAGE = (Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")


def batch(step: int, **changes: Any) -> BatchSummary:
    values: dict[str, Any] = {
        "groups": 2,
        "completions": 4,
        "tokens": 100,
        "score_mean": 0.5,
        "pass_rate": 0.5,
        "staleness_sum": 0,
        "staleness_max": 0,
        "completions_spanning_versions": 0,
        "groups_without_signal": 0,
        "truncated": 0,
        "outcomes": {},
    }
    return BatchSummary(step=step, **{**values, **changes})


def test_staleness_is_a_mean_over_tokens_and_not_over_batches() -> None:
    summary = RunSummary(time.monotonic())
    summary.add_batch(batch(0, tokens=100, staleness_sum=0, staleness_max=0))
    summary.add_batch(batch(1, tokens=300, staleness_sum=600, staleness_max=2))
    summary.add_batch(batch(2, tokens=100, staleness_sum=100, staleness_max=1))
    values = summary.values()
    assert (values["staleness_mean"], values["staleness_max"]) == (1.4, 2)
    assert (values["steps"], values["trained_tokens"], values["trained_completions"]) == (3, 500, 12)


def test_counts_of_all_batches_are_added() -> None:
    summary = RunSummary(time.monotonic())
    outcomes = {"wrong": 3, "correct": 1}
    summary.add_batch(batch(0, truncated=1, completions_spanning_versions=2, outcomes=outcomes))
    summary.add_batch(batch(1, truncated=2, completions_spanning_versions=3, outcomes={"correct": 4}))
    values = summary.values()
    assert (values["completions_truncated"], values["completions_spanning_versions"]) == (3, 5)
    assert list(values["grades"].items()) == [("correct", 5), ("wrong", 3)]
    assert outcomes == {"wrong": 3, "correct": 1}


def test_totals_of_the_workers_replace_their_earlier_totals() -> None:
    summary = RunSummary(time.monotonic())
    summary.set_rollouts([RolloutStatistics(10, 1, 1, 0.5), RolloutStatistics(20, 2, 1, 0.5)])
    summary.set_rollouts([RolloutStatistics(100, 5, 3, 0.5), RolloutStatistics(200, 9, 1, 1.5)])
    values = summary.values()
    assert (values["generated_tokens"], values["weight_updates"]) == (300, 4)
    assert values["weight_update_pause_seconds_mean"] == 0.5


def test_a_run_that_ended_before_its_first_step_has_no_means() -> None:
    values = RunSummary(time.monotonic()).values()
    unknown = {name for name, value in values.items() if value is None}
    assert unknown == {
        "pass_at_1_before",
        "pass_at_1_after",
        "startup_seconds",
        "staleness_mean",
        "staleness_max",
        "weight_update_pause_seconds_mean",
        "checkpoint",
        "processes_left",
    }


def fail_in(summary: RunSummary, phase: str) -> None:
    with summary.phase(phase):
        raise RuntimeError


def test_a_phase_that_fails_is_timed_too() -> None:
    summary = RunSummary(time.monotonic())
    with summary.phase("ray"):
        pass
    with pytest.raises(RuntimeError):
        fail_in(summary, "training")
    assert list(summary.values()["phase_seconds"]) == ["ray", "training"]


def test_a_summary_that_cannot_be_put_in_place_leaves_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    summary = RunSummary(time.monotonic())
    summary.write(path)
    before = path.read_text()

    def disk_is_gone(source: Path, target: Path) -> None:
        assert json.loads(Path(source).read_text())["steps"] == 1, "what is put in place is whole already"
        assert Path(target).read_text() == before
        raise OSError("no space left on device")

    summary.add_batch(batch(0))
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", disk_is_gone)
        with pytest.raises(OSError, match="no space left"):
            summary.write(path)
    assert path.read_text() == before
    summary.write(path)
    assert json.loads(path.read_text())["steps"] == 1
    assert os.listdir(tmp_path) == ["summary.json"]


def test_every_field_is_explained_on_the_page_and_no_other() -> None:
    (table,) = re.findall(r"^## summary\.json\n(.*?)(?=^## )", PAGE, flags=re.MULTILINE | re.DOTALL)
    explained = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert explained == list(RunSummary(time.monotonic()).values())
