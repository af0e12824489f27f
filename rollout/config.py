"""Settings of the rollout workers, their engines and the sampling of completions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class SamplingConfig(BaseModel):
    """How completions are drawn; used for training and, unless overridden, for evaluation.

    The distribution is never truncated (top-p, top-k): the trainer computes logprobs over the whole of it, and the
    ratio to the engine's would not be that of two policies.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(default=1.0, gt=0, description="Divides the logits before sampling.")
    max_tokens: int = Field(gt=0, description="Longest completion, in tokens.")
    stop: list[str] = Field(default_factory=list, description="Strings that end a completion.")
    seed_requests: bool = Field(
        default=False,
        description="Give every completion a seed of its own, derived from rollout.seed and the group's number, "
        "so that what is sampled does not depend on what else is running.",
    )


class EngineConfig(BaseModel):
    """What is handed to vLLM's AsyncLLM."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16", description="Weights and activations in the engine."
    )
    max_model_len: int = Field(gt=0, description="Longest prompt plus completion, in tokens.")
    max_num_seqs: int = Field(default=256, gt=0, description="Completions that the engine writes at once.")
    max_num_batched_tokens: int | None = Field(
        default=None, gt=0, description="Tokens per engine step; null leaves it to vLLM."
    )
    tensor_parallel_size: int = Field(default=1, gt=0, description="GPUs that share one engine.")
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="Share of the GPU's memory that the engine takes."
    )
    kv_cache_memory_bytes: int | None = Field(
        default=None, gt=0, description="Size of the KV cache; null leaves it to vLLM. Set it on CPU."
    )
    enforce_eager: bool = Field(default=False, description="Run without CUDA graphs and compilation.")
    enable_prefix_caching: bool = Field(
        default=True,
        description="Share the KV cache of equal prompts. Blocks are salted with the version that wrote them.",
    )
    extra: dict[str, Any] = Field(
        default_factory=dict, description="Further arguments of vLLM's AsyncEngineArgs, passed as they are."
    )


class RolloutConfig(BaseModel):
    """Everything under the key `rollout`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(default=1, gt=0, description="Rollout actors, each with one engine.")
    completions_per_group: int = Field(gt=0, description="Completions sampled for each problem (n).")
    max_concurrent_groups: int = Field(
        gt=0, description="Groups that one worker has in hand at once; keeps continuous batching full."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the engine and of seeded requests.")
    threads: int | None = Field(
        default=None, gt=0, description="CPU threads of one engine; null leaves it to the machine."
    )
    num_cpus: float = Field(default=1, ge=0, description="CPUs that Ray reserves for one worker.")
    num_gpus: float = Field(default=0, ge=0, description="GPUs that Ray reserves for one worker.")
    start_timeout_seconds: float = Field(default=300, gt=0, description="Bound on an engine's start.")
    request_timeout_seconds: float = Field(
        default=600, gt=0, description="Bound on writing one group; past it the lease is returned."
    )
    sampling: SamplingConfig = Field(description="How completions are drawn.")
    engine: EngineConfig = Field(description="What is handed to vLLM.")
