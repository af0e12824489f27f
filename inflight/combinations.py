"""Combinations of keys that cannot work, found before any engine starts.

Each check looks at keys of more than one part; what one part can tell alone stands in its own config.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curriculum.config import ReasoningGymSourceConfig
from inflight.refusal import Reason

if TYPE_CHECKING:
    from inflight.config import Config


def contradictions(config: Config) -> list[Reason]:
    """All reasons why these keys cannot work together; none if they can."""
    checks = (_lengths, _evaluation, _batch, _leases, _seeds, _devices, _steps, _tiny_model)
    return [reason for check in checks for reason in check(config)]


def _lengths(config: Config) -> Iterator[Reason]:
    sampling, engine = config.rollout.sampling, config.rollout.engine
    limit = f"rollout.engine.max_model_len={engine.max_model_len}"
    prompt = config.curriculum.max_prompt_tokens
    longest = {"rollout.sampling.max_tokens": sampling.max_tokens}
    if config.evaluation.max_tokens is not None:
        longest["evaluation.max_tokens"] = config.evaluation.max_tokens
    for key, tokens in longest.items():
        if engine.max_model_len < prompt + tokens:
            yield Reason(
                f"rollout.engine.max_model_len, curriculum.max_prompt_tokens, {key}",
                f"{limit} does not hold the longest prompt and completion: curriculum.max_prompt_tokens={prompt} + "
                f"{key}={tokens}. Write rollout.engine.max_model_len={prompt + tokens}, or lower one of the others.",
            )


def _evaluation(config: Config) -> Iterator[Reason]:
    asked, held_out = config.evaluation.problems, config.curriculum.held_out
    if asked > held_out:
        yield Reason(
            "evaluation.problems, curriculum.held_out",
            f"evaluation.problems={asked} problems are to be asked and curriculum.held_out={held_out} are kept "
            f"apart. Write evaluation.problems={held_out}, or curriculum.held_out={asked}.",
        )
    source = config.curriculum.source
    if isinstance(source, ReasoningGymSourceConfig) and held_out >= source.size:
        yield Reason(
            "curriculum.held_out, curriculum.source.size",
            f"curriculum.held_out={held_out} of curriculum.source.size={source.size} problems leaves none to "
            f"train on. Write a larger curriculum.source.size or a smaller curriculum.held_out.",
        )


def _leases(config: Config) -> Iterator[Reason]:
    lease, request = config.replay.lease_seconds, config.rollout.request_timeout_seconds
    if lease <= request:
        yield Reason(
            "replay.lease_seconds, rollout.request_timeout_seconds",
            f"replay.lease_seconds={lease:g} takes a group back before rollout.request_timeout_seconds={request:g} "
            f"has passed, and it is graded after that. Write replay.lease_seconds={2 * request:g}.",
        )


def _batch(config: Config) -> Iterator[Reason]:
    groups, n = config.replay.groups_per_batch, config.rollout.completions_per_group
    minibatches, ranks = config.trainer.minibatches, config.trainer.ranks
    if n < 2:
        yield Reason(
            "rollout.completions_per_group",
            f"rollout.completions_per_group={n} compares a completion with nothing: a group's advantage needs at "
            "least two. Write rollout.completions_per_group=8.",
        )
    if minibatches > groups:
        yield Reason(
            "trainer.minibatches, replay.groups_per_batch",
            f"trainer.minibatches={minibatches} mini-batches cannot be dealt from replay.groups_per_batch={groups} "
            f"groups. Write trainer.minibatches={groups} or less, or more groups per batch.",
        )
    if groups * n < ranks:
        yield Reason(
            "trainer.ranks, replay.groups_per_batch, rollout.completions_per_group",
            f"trainer.ranks={ranks} ranks share a batch of replay.groups_per_batch={groups} x "
            f"rollout.completions_per_group={n} completions, so some have none. Write trainer.ranks={groups * n} or "
            "less, or a larger replay.groups_per_batch.",
        )


def _seeds(config: Config) -> Iterator[Reason]:
    if (
        config.rollout.sampling.seed_requests
        and config.rollout.num_gpus == 0
        and config.weight_sync.kv_cache == "recompute"
        and config.replay.max_staleness > 0
    ):
        yield Reason(
            "rollout.sampling.seed_requests, weight_sync.kv_cache, replay.max_staleness, rollout.num_gpus",
            "On a CPU engine (rollout.num_gpus=0) an update that recomputes the KV cache prefills running "
            "completions again, and vLLM cannot rewind the CPU generator of one that has a seed of its own: the "
            "engine would die at the first update. Write replay.max_staleness=0, or weight_sync.kv_cache=keep, or "
            "rollout.sampling.seed_requests=false.",
        )


def _devices(config: Config) -> Iterator[Reason]:
    parallel, gpus = config.rollout.engine.tensor_parallel_size, config.rollout.num_gpus
    if parallel > 1 and gpus < parallel:
        yield Reason(
            "rollout.engine.tensor_parallel_size, rollout.num_gpus",
            f"rollout.engine.tensor_parallel_size={parallel} needs as many GPUs for each worker and "
            f"rollout.num_gpus={gpus:g}. Write rollout.num_gpus={parallel}, or "
            "rollout.engine.tensor_parallel_size=1.",
        )
    deepspeed = config.trainer.deepspeed
    if deepspeed.offload_optimizer and deepspeed.zero_stage == 0:
        yield Reason(
            "trainer.deepspeed.offload_optimizer, trainer.deepspeed.zero_stage",
            "trainer.deepspeed.offload_optimizer=true needs an optimizer that ZeRO shards, and "
            "trainer.deepspeed.zero_stage=0 shards nothing. Write trainer.deepspeed.zero_stage=1 (or 2, 3), or "
            "trainer.deepspeed.offload_optimizer=false.",
        )


def _steps(config: Config) -> Iterator[Reason]:
    every, steps = config.trainer.save_every, config.trainer.steps
    if every is not None and every > steps:
        yield Reason(
            "trainer.save_every, trainer.steps",
            f"trainer.save_every={every} is never reached in trainer.steps={steps}. Write "
            "trainer.save_every=null to save at the end only, or a smaller number.",
        )


def _tiny_model(config: Config) -> Iterator[Reason]:
    tiny = config.model.tiny
    if tiny is None:
        return
    source = config.curriculum.source
    if not (isinstance(source, ReasoningGymSourceConfig) and source.dataset == "chain_sum"):
        what = f"dataset={source.dataset}" if isinstance(source, ReasoningGymSourceConfig) else f"kind={source.kind}"
        yield Reason(
            "model.tiny, curriculum.source",
            f"model.tiny learns from worked solutions, which exist for chain_sum of reasoning-gym only, and "
            f"curriculum.source.{what}. Write curriculum=chain_sum, or take a model that knows more: "
            "model=checkpoint model.path=...",
        )
    length = config.rollout.engine.max_model_len
    if tiny.max_position_embeddings < length:
        yield Reason(
            "model.tiny.max_position_embeddings, rollout.engine.max_model_len",
            f"model.tiny.max_position_embeddings={tiny.max_position_embeddings} is less than "
            f"rollout.engine.max_model_len={length}. Write model.tiny.max_position_embeddings={length}, or a "
            "shorter rollout.engine.max_model_len.",
        )
