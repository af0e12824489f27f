"""Environment variables that an engine's process needs before vLLM is imported."""

from __future__ import annotations

from rollout.config import RolloutConfig


def engine_environment(config: RolloutConfig) -> dict[str, str]:
    """Variables for the actor that runs the engine, inherited by the engine's own process."""
    environment = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    if config.num_gpus == 0:
        environment |= {
            # With this, AsyncLLM keeps its worker inside the engine's process: two processes, not three,
            # and a worker process spins on its queue for a second after every call.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # Saves the compilation of a kernel that ranks logprobs: seconds at the first request.
            "TORCHDYNAMO_DISABLE": "1",
        }
    if config.threads is not None:
        environment["OMP_NUM_THREADS"] = str(config.threads)
    return environment
