"""With max_staleness 0 the asynchronous system is a synchronous loop: same batches, losses and weights."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from curriculum.sampler import ShuffledSampler
from curriculum.sources import load_problems
from curriculum.split import split_problems
from inflight.compose import compose
from inflight.config import Config
from replay.ledger import FILE_NAME, Ledger
from replay.records import Completion
from rollout.engine import Engine
from rollout.environment import engine_environment
from rollout.worker import group_seed
from tests.e2e.checkpoints import random_checkpoint
from tests.e2e.command import Command
from tests.e2e.parity_grader import odd_number_of_tokens
from weight_sync.publisher import SnapshotPublisher
from weight_sync.snapshot import TensorLayout

pytestmark = pytest.mark.e2e

STEPS = 3


def overrides(model: Path, run_dir: Path) -> list[str]:
    grader = Path(__file__).with_name("parity_grader.py")
    return [
        "experiment=quickstart",
        "model=checkpoint",
        f"model.path={model}",
        f"rewards.grader={grader}:odd_number_of_tokens",
        "evaluation=none",
        f"run.dir={run_dir}",
        "replay.max_staleness=0",
        "replay.groups_per_batch=4",
        "rollout.completions_per_group=4",
        "rollout.sampling.seed_requests=true",
        "rollout.sampling.max_tokens=12",
        f"trainer.steps={STEPS}",
        # A large ε keeps Adam from turning rounding errors in tiny gradients into whole steps.
        "trainer.optimizer.eps=1e-4",
        "trainer.optimizer.learning_rate=1e-3",
    ]


def group_advantages(rewards: list[float]) -> list[float]:
    mean = sum(rewards) / len(rewards)
    variance = sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)
    return [0.0 if variance == 0 else (reward - mean) / (variance**0.5 + 1e-6) for reward in rewards]


def synchronous_step(
    model: Any, optimizer: torch.optim.Optimizer, answered: list[tuple[list[int], list[Completion], list[float]]]
) -> tuple[float, float]:
    """One GRPO step, one sequence at a time. Loss and gradient norm."""
    tokens = sum(len(completion) for _, completions, _ in answered for completion in completions)
    total = 0.0
    for prompt, completions, rewards in answered:
        for completion, advantage in zip(completions, group_advantages(rewards), strict=True):
            token_ids = torch.tensor([[*prompt, *completion.token_ids.tolist()]])
            logprobs = torch.log_softmax(model(token_ids).logits[0, :-1], -1)
            chosen = logprobs.gather(1, token_ids[0, 1:, None])[len(prompt) - 1 :, 0]
            weight = (chosen.detach() - torch.from_numpy(completion.logprobs.copy())).exp()
            loss = -(weight * (chosen - chosen.detach()).exp() * advantage).sum() / tokens
            loss.backward()
            total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return total, norm.item()


async def synchronous_loop(config: Config, snapshots: Path) -> tuple[list[Any], list[tuple[float, float]], Any]:
    """Generate, grade, train, repeat. Batches, losses with gradient norms, and the final model."""
    assert config.model.path is not None
    model = AutoModelForCausalLM.from_pretrained(config.model.path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(config.model.path)
    rate = config.trainer.optimizer
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate.learning_rate, betas=rate.betas, eps=rate.eps, weight_decay=rate.weight_decay
    )
    split = split_problems(load_problems(config.curriculum), config.curriculum.held_out, config.curriculum.seed)
    sampler = ShuffledSampler(split.train, config.curriculum.seed)
    publisher = SnapshotPublisher(snapshots)
    engine = Engine(config.model.path, config.rollout, config.weight_sync)
    batches, losses, asked = [], [], 0
    n = config.rollout.completions_per_group
    try:
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = rate.learning_rate * min(1.0, (step + 1) / rate.warmup_steps)
            weights = dict(model.named_parameters())
            layout = [TensorLayout(name, weight.dtype, tuple(weight.shape)) for name, weight in weights.items()]
            snapshot = publisher.publish(step, layout, (weight.data for weight in weights.values()))
            await engine.load(step, str(snapshot))
            problems = [sampler.next_problem() for _ in range(config.replay.groups_per_batch)]
            prompts = [tokenizer(problem.prompt).input_ids for problem in problems]
            completions = await asyncio.gather(
                *(
                    engine.generate(
                        np.array(prompt, dtype=np.int32),
                        n,
                        config.rollout.sampling,
                        group_seed(config.rollout, asked + number),
                    )
                    for number, prompt in enumerate(prompts)
                )
            )
            asked += len(problems)
            rewards = [
                [float(odd_number_of_tokens(problem, completion)) for completion in answers]
                for problem, answers in zip(problems, completions, strict=True)
            ]
            answered = list(zip(prompts, completions, rewards, strict=True))
            batches.append([[completion.token_ids.tolist() for completion in answers] for answers in completions])
            losses.append(synchronous_step(model, optimizer, answered))
    finally:
        engine.shutdown()
    return batches, losses, model


def test_without_staleness_a_run_equals_a_synchronous_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = random_checkpoint(tmp_path / "model", tied=False)
    run_dir = tmp_path / "run"
    arguments = overrides(checkpoint, run_dir)
    with Command("train", *arguments) as command:
        status, output = command.finish(timeout=240)
        assert status == 0, output
        assert command.processes() == []

    config = compose(arguments)
    for name, value in engine_environment(config.rollout).items():
        monkeypatch.setenv(name, value)
    batches, losses, model = asyncio.run(synchronous_loop(config, tmp_path / "snapshots"))

    with Ledger(run_dir / FILE_NAME) as ledger:
        recorded = [ledger.batch(step) for step in range(STEPS)]
    assert [
        [[completion.token_ids.tolist() for completion in group.completions] for group in batch.groups]
        for batch in recorded
    ] == batches
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(
        [(line["train/loss"], line["train/gradient_norm"]) for line in metrics], losses, atol=1e-5
    )
    assert all(line["staleness/max"] == 0 for line in metrics)

    trained = AutoModelForCausalLM.from_pretrained(run_dir / "checkpoints" / f"step-{STEPS}", dtype=torch.float32)
    before = dict(AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).named_parameters())
    moved = 0.0
    for (name, weight), expected in zip(trained.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-5)
        moved = max(moved, float((weight - before[name]).abs().max()))
    assert moved > 1e-4
