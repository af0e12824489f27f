"""The real AsyncLLM, updated while it writes: every recorded logprob is that of the policy that wrote it."""

import asyncio
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from replay.records import Completion
from rollout.config import EngineConfig, RolloutConfig, SamplingConfig
from rollout.engine import Engine
from rollout.environment import engine_environment
from tests.e2e.checkpoints import random_checkpoint
from weight_sync.config import WeightSyncConfig
from weight_sync.publisher import SnapshotPublisher
from weight_sync.snapshot import TensorLayout

pytestmark = pytest.mark.e2e

TOLERANCE = 1e-4
TEXT = "State 4 + 5 ="
ROLLOUT = RolloutConfig(
    completions_per_group=8,
    max_concurrent_groups=8,
    threads=1,
    sampling=SamplingConfig(max_tokens=64, temperature=0.8),
    engine=EngineConfig(
        dtype="float32",
        max_model_len=128,
        max_num_seqs=64,
        max_num_batched_tokens=8192,
        kv_cache_memory_bytes=64 << 20,
        enforce_eager=True,
    ),
)


def publish(publisher: SnapshotPublisher, version: int, model: Any) -> str:
    weights = dict(model.named_parameters())
    layout = [TensorLayout(name, weight.dtype, tuple(weight.shape)) for name, weight in weights.items()]
    return str(publisher.publish(version, layout, (weight.data for weight in weights.values())))


def logprobs_under(model: Any, prompt: list[int], completion: Completion) -> np.ndarray:
    """As transformers computes them from scratch, at the sampling temperature. [T]"""
    token_ids = torch.tensor([[*prompt, *completion.token_ids.tolist()]])
    with torch.no_grad():
        logits = model(token_ids).logits[0, :-1] / ROLLOUT.sampling.temperature
    chosen = torch.log_softmax(logits, dim=-1).gather(1, token_ids[0, 1:, None])[:, 0]
    return chosen[len(prompt) - 1 :].numpy()


@contextmanager
def running_engine(checkpoint: Path) -> Iterator[Engine]:
    engine = Engine(str(checkpoint), ROLLOUT, WeightSyncConfig())
    try:
        yield engine
    finally:
        engine.shutdown()


async def in_flight_update(checkpoint: Path, snapshots: Path) -> None:
    old = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    new = copy.deepcopy(old)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in new.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    prompt = AutoTokenizer.from_pretrained(checkpoint)(TEXT).input_ids
    publisher = SnapshotPublisher(snapshots)
    with running_engine(checkpoint) as engine:
        await engine.load(0, publish(publisher, 0, old))
        for completion in await engine.generate(np.array(prompt, dtype=np.int32), 4, ROLLOUT.sampling):
            assert {span.version for span in completion.version_spans} == {0}
            np.testing.assert_allclose(completion.logprobs, logprobs_under(old, prompt, completion), atol=TOLERANCE)

        snapshot = publish(publisher, 1, new)
        writing = [
            asyncio.create_task(engine.generate(np.array(prompt, dtype=np.int32), 8, ROLLOUT.sampling))
            for _ in range(8)
        ]
        # Submitted last and short: when it is finished, the others are in the middle of their 64 tokens.
        short = ROLLOUT.sampling.model_copy(update={"max_tokens": 8})
        await engine.generate(np.array(prompt, dtype=np.int32), 1, short)
        await engine.load(1, snapshot)
        completions = [completion for group in await asyncio.gather(*writing) for completion in group]
        spanning = [completion for completion in completions if len(completion.version_spans) > 1]
        assert spanning, "no completion was being written during the update"
        for completion in completions:
            assert completion.version_spans[0].start == 0
            assert completion.version_spans[-1].end == len(completion)
            expected = np.where(
                completion.versions == 0,
                logprobs_under(old, prompt, completion),
                logprobs_under(new, prompt, completion),
            )
            np.testing.assert_allclose(completion.logprobs, expected, atol=TOLERANCE)

        for completion in await engine.generate(np.array(prompt, dtype=np.int32), 4, ROLLOUT.sampling):
            assert {span.version for span in completion.version_spans} == {1}
            np.testing.assert_allclose(completion.logprobs, logprobs_under(new, prompt, completion), atol=TOLERANCE)
            # The two policies can be told apart, or the comparisons above would show nothing.
            assert np.abs(completion.logprobs - logprobs_under(old, prompt, completion)).max() > 100 * TOLERANCE

        with pytest.raises(FileNotFoundError):
            await engine.load(2, str(snapshots / "version-2.safetensors"))
        assert engine.version == 1
        (completion,) = await engine.generate(np.array(prompt, dtype=np.int32), 1, ROLLOUT.sampling)
        assert {span.version for span in completion.version_spans} == {1}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_every_token_has_the_logprob_of_the_version_that_wrote_it(
    tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in engine_environment(ROLLOUT).items():
        monkeypatch.setenv(name, value)
    checkpoint = random_checkpoint(tmp_path / "model", tied=tied)
    asyncio.run(in_flight_update(checkpoint, tmp_path / "snapshots"))
