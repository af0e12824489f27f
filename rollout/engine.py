"""vLLM's AsyncLLM: groups of completions with their versions, and updates while they are written."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.records import Completion, FinishReason, VersionSpan
from rollout.config import RolloutConfig, SamplingConfig
from weight_sync.config import WeightSyncConfig
from weight_sync.vllm_plugin import BACKEND, register


class Engine:
    """One vLLM engine on the running event loop.

    An in-flight update, with completions A and B being written and C arriving meanwhile:

        version 6   A: t1 t2 t3        B: t1          load(7) begins
                    ── pause: the current engine step ends, A and B keep their place ──
                    weights of 7 are loaded; with kv_cache `recompute` the cache is dropped
                    ── resume ──
        version 7   A: … t4 t5 ■       B: … t2 t3 ■   C: t1 t2 ■
        spans       A: 6[0,3) 7[3,5)   B: 6[0,1) 7[1,3)   C: 7[0,2)

    The engine itself labels the tokens with the version that wrote them. `version` changes between pause
    and resume, so no token is written under a label that is not its own.

    Args:
        model_path: Hugging Face checkpoint that the engine starts from; its weights are `version` -1 until
            the first update.
        config: engine and sampling settings.
        weight_sync: how updates treat the KV cache, and their time limit.
    """

    def __init__(self, model_path: str, config: RolloutConfig, weight_sync: WeightSyncConfig) -> None:
        from vllm import SamplingParams
        from vllm.config import WeightTransferConfig
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.async_llm import AsyncLLM

        register()
        engine = config.engine
        arguments: dict[str, Any] = {
            "model": model_path,
            "dtype": engine.dtype,
            "seed": config.seed,
            "max_model_len": engine.max_model_len,
            "max_num_seqs": engine.max_num_seqs,
            "max_num_batched_tokens": engine.max_num_batched_tokens,
            "tensor_parallel_size": engine.tensor_parallel_size,
            "gpu_memory_utilization": engine.gpu_memory_utilization,
            "kv_cache_memory_bytes": engine.kv_cache_memory_bytes,
            "enforce_eager": engine.enforce_eager,
            "enable_prefix_caching": engine.enable_prefix_caching,
            # Behaviour logprobs must be those of the distribution that was sampled from.
            "logprobs_mode": "processed_logprobs",
            "weight_transfer_config": WeightTransferConfig(backend=BACKEND),
            "worker_extension_cls": "weight_sync.worker_extension.WorkerExtension",
            "disable_log_stats": True,
        }
        if config.num_gpus == 0:
            arguments["distributed_executor_backend"] = "uni"
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**(arguments | engine.extra)))
        self._sampling_params = SamplingParams
        self._final_only = RequestOutputKind.FINAL_ONLY
        self._tokenizer = self._llm.get_tokenizer()
        self._weight_sync = weight_sync
        self._salt_prompts = engine.enable_prefix_caching
        self._requests = 0
        self._version = -1

    @property
    def version(self) -> int:
        """Version of the weights that write the next token."""
        return self._version

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    async def generate(
        self, prompt_token_ids: NDArray[np.int32], n: int, sampling: SamplingConfig, seed: int | None = None
    ) -> list[Completion]:
        """Write n completions of one prompt.

        Args:
            prompt_token_ids: int32 [P].
            n: number of completions.
            sampling: how they are drawn.
            seed: of the group, if its completions are to be reproducible; completion i uses seed + i.

        Raises:
            RuntimeError: if the engine stopped or lost track of versions.
        """
        parameters = self._sampling_params(
            n=n,
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            stop=sampling.stop or None,
            seed=seed,
            logprobs=0,
            detokenize=bool(sampling.stop),
            output_kind=self._final_only,
        )
        prompt: dict[str, Any] = {"prompt_token_ids": prompt_token_ids.tolist()}
        if self._salt_prompts:
            # Cached blocks written under other weights must not be found.
            prompt["cache_salt"] = f"version-{self._version}"
        self._requests += 1
        final = None
        async for output in self._llm.generate(prompt, parameters, request_id=str(self._requests)):
            final = output
        if final is None or len(final.outputs) != n:
            raise RuntimeError(f"the engine returned no complete answer to request {self._requests}")
        return [self._completion(output) for output in sorted(final.outputs, key=lambda output: output.index)]

    def _completion(self, output: Any) -> Completion:
        token_ids: Sequence[int] = output.token_ids
        if output.weight_versions is None or output.logprobs is None:
            raise RuntimeError("the engine returned a completion without versions or logprobs")
        return Completion(
            token_ids=np.asarray(token_ids, dtype=np.int32),
            logprobs=np.array(
                [entry[token].logprob for entry, token in zip(output.logprobs, token_ids, strict=True)],
                dtype=np.float32,
            ),
            version_spans=tuple(
                VersionSpan(int(span.version), span.start, span.end) for span in output.weight_versions
            ),
            finish_reason=FinishReason(output.finish_reason),
            loss_mask=np.ones(len(token_ids), dtype=np.bool_),
            text=output.text or self._tokenizer.decode(token_ids, skip_special_tokens=True),
        )

    async def load(self, version: int, snapshot: str) -> float:
        """Put version `version` in place while completions are being written.

        Returns:
            Seconds during which no token was written.

        Raises:
            FileNotFoundError: if the snapshot is gone, because newer ones exist; nothing has changed.
            TimeoutError: if the update took longer than `weight_sync.timeout_seconds`; the engine is then
                in an unknown state and must not be used.
        """
        # The snapshot may be removed at any moment; under a name of its own it stays until it is loaded.
        own = f"{snapshot}.{os.getpid()}"
        os.link(snapshot, own)
        try:
            async with asyncio.timeout(self._weight_sync.timeout_seconds):
                return await self._load(version, own)
        finally:
            os.unlink(own)

    async def _load(self, version: int, snapshot: str) -> float:
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        began = time.monotonic()
        await self._llm.pause_generation(mode="keep", clear_cache=self._weight_sync.kv_cache == "recompute")
        try:
            await self._llm.start_weight_update()
            await self._llm.update_weights(
                WeightTransferUpdateRequest(update_info={"path": snapshot, "version": version})
            )
            await self._llm.finish_weight_update(weight_version=str(version))
            self._version = version
        finally:
            await self._llm.resume_generation()
        return time.monotonic() - began

    def shutdown(self) -> None:
        """Stop the engine's process; running requests are lost."""
        self._llm.shutdown()
