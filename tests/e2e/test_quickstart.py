"""The quickstart as the README has it, whole, and everything that it promises."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from curriculum.content import normalise_question, question_of
from curriculum.sources import load_problems
from curriculum.split import split_problems
from inflight.compose import compose
from replay.ledger import FILE_NAME, Ledger
from tests.e2e.command import Command

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart") / "run"


@pytest.fixture(scope="module")
def output(run_dir: Path) -> str:
    with Command("train", "experiment=quickstart", f"run.dir={run_dir}") as command:
        status, output = command.finish(timeout=1200)
        assert status == 0, output
        assert command.processes() == []
    return output


@pytest.fixture(scope="module")
def summary(run_dir: Path, output: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return values


@pytest.fixture(scope="module")
def metrics(run_dir: Path, output: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "train/loss" in line]


@pytest.mark.timeout(1300)
def test_the_model_learns(summary: dict[str, Any]) -> None:
    assert summary["pass_at_1_before"] <= 0.50
    assert summary["pass_at_1_after"] >= 0.85


def test_the_summary_is_complete_and_agrees_with_the_ledger(summary: dict[str, Any], run_dir: Path) -> None:
    config = compose(["experiment=quickstart"])
    assert summary["steps"] == config.trainer.steps
    n = config.replay.groups_per_batch * config.rollout.completions_per_group
    assert summary["trained_completions"] == summary["steps"] * n == sum(summary["grades"].values())
    assert summary["processes_left"] == 0
    assert summary["weight_updates"] > 0.5 * summary["steps"]
    for name in ("wall_seconds", "startup_seconds", "weight_update_pause_seconds_mean", "staleness_mean"):
        assert summary[name] > 0
    with sqlite3.connect(run_dir / FILE_NAME) as ledger:
        (trained,) = ledger.execute("SELECT count(*) FROM groups WHERE state = 'trained'").fetchone()
        (tokens,) = ledger.execute(
            "SELECT sum(length(token_ids)) / 4 FROM completions JOIN groups ON id = group_id WHERE state = 'trained'"
        ).fetchone()
        (written,) = ledger.execute("SELECT sum(length(token_ids)) / 4 FROM completions").fetchone()
    assert trained == summary["steps"] * config.replay.groups_per_batch
    assert tokens == summary["trained_tokens"]
    assert tokens <= written <= summary["generated_tokens"]


def test_staleness_is_bounded_and_completions_span_updates(summary: dict[str, Any], run_dir: Path) -> None:
    config = compose(["experiment=quickstart"])
    spanning = 0
    oldest = 0
    with Ledger(run_dir / FILE_NAME) as ledger:
        for step in range(config.trainer.steps):
            for _, completion, _ in ledger.batch(step).samples():
                versions = completion.versions
                assert (versions[1:] >= versions[:-1]).all()
                assert versions[-1] <= step
                oldest = max(oldest, step - int(versions[0]))
                spanning += len(set(versions.tolist())) > 1
    assert 0 < oldest <= config.replay.max_staleness
    assert summary["staleness_max"] == oldest
    assert summary["completions_spanning_versions"] == spanning > 0


def test_engine_and_trainer_agree_on_logprobs_before_any_update(metrics: list[dict[str, float]]) -> None:
    first = metrics[0]
    assert first["staleness/max"] == 0
    assert first["train/log_ratio_abs/prox_behaviour"] < 1e-5
    assert first["train/ratio/prox_behaviour"] == pytest.approx(1, abs=1e-5)
    assert all(line["train/ratio/theta_prox"] == pytest.approx(1, abs=1e-6) for line in metrics)


def test_every_recorded_logprob_is_that_of_the_model_that_wrote_it(output: str, run_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(run_dir / "base_model", dtype=torch.float32)
    with Ledger(run_dir / FILE_NAME) as ledger:
        samples = list(ledger.batch(0).samples())
    for group, completion, _ in samples:
        token_ids = torch.tensor([[*group.prompt_token_ids.tolist(), *completion.token_ids.tolist()]])
        with torch.no_grad():
            logprobs = torch.log_softmax(model(token_ids).logits[0, :-1], -1).gather(1, token_ids[0, 1:, None])[:, 0]
        written = logprobs[len(group.prompt_token_ids) - 1 :].numpy()
        np.testing.assert_allclose(completion.logprobs, written, atol=1e-4)


def test_no_held_out_problem_was_asked_in_training(summary: dict[str, Any], run_dir: Path) -> None:
    curriculum = compose(["experiment=quickstart"]).curriculum
    split = split_problems(load_problems(curriculum), curriculum.held_out, curriculum.seed)
    held_out = {normalise_question(question_of(problem)) for problem in split.held_out}
    with sqlite3.connect(run_dir / FILE_NAME) as ledger:
        asked = {prompt for (prompt,) in ledger.execute("SELECT prompt FROM problems")}
    assert len(held_out) >= 256
    assert len(asked) > 1000
    assert held_out.isdisjoint({normalise_question(prompt) for prompt in asked})


def test_the_checkpoint_is_an_ordinary_one(summary: dict[str, Any]) -> None:
    model = AutoModelForCausalLM.from_pretrained(summary["checkpoint"])
    tokenizer = AutoTokenizer.from_pretrained(summary["checkpoint"])
    assert 1_000_000 <= model.num_parameters() <= 3_000_000
    prompt = tokenizer("State the final answer to the following arithmetic problem: 4 + 7 - 3 =", return_tensors="pt")
    answer = model.generate(prompt.input_ids, max_new_tokens=48, do_sample=False)[0]
    assert r"\boxed{8}" in tokenizer.decode(answer)


def test_the_user_is_told_what_was_reached_and_where_things_are(
    output: str, summary: dict[str, Any], run_dir: Path
) -> None:
    assert f"{summary['pass_at_1_before']:.1%} → {summary['pass_at_1_after']:.1%}" in output
    for part in (
        "reward",
        "pass rate",
        "staleness",
        "tok/s",
        "left",
        str(run_dir / "metrics.jsonl"),
        "inflight train",
    ):
        assert part in output
    assert list(run_dir.glob("events.out.tfevents.*"))
