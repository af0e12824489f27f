"""A transformers causal LM under DeepSpeed, and its weights one tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import deepspeed
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoModelForCausalLM

from trainer.config import TrainerConfig
from trainer.schedule import learning_rate_factor
from weight_sync.snapshot import TensorLayout


def join_process_group(config: TrainerConfig) -> None:
    """Meet the other ranks, as the usual environment variables (RANK, WORLD_SIZE, MASTER_ADDR …) say.

    A collective that another rank never enters ends with an error after `step_timeout_seconds`.
    """
    if not config.num_gpus:
        # On CPU DeepSpeed would first compile an all-reduce that only its inference uses: a minute, and a
        # failure where there is no compiler.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if config.num_gpus else "gloo"
    deepspeed.init_distributed(
        dist_backend=backend,
        auto_mpi_discovery=False,
        verbose=False,
        timeout=timedelta(seconds=config.step_timeout_seconds),
    )


def deepspeed_settings(config: TrainerConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration.

    Its batch sizes are nominal: the trainer decides on micro-batches itself, marks the last one of every
    optimizer step, and divides the loss by the global number of tokens. `trainer.deepspeed.extra` is merged
    in key by key, and where it disagrees it is what holds.
    """
    optimizer = config.optimizer
    zero: dict[str, Any] = {"stage": config.deepspeed.zero_stage}
    if config.deepspeed.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": bool(config.num_gpus)}
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": optimizer.max_grad_norm,
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "zero_optimization": zero,
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": optimizer.learning_rate,
                "betas": list(optimizer.betas),
                "eps": optimizer.eps,
                "weight_decay": optimizer.weight_decay,
                # DeepSpeed's own is compiled when it is first used, which needs nvcc and ninja at run time.
                "torch_adam": True,
            },
        },
    }
    return _merged(settings, config.deepspeed.extra)


class DeepSpeedModel:
    """The engine of one rank. All ranks must make the same calls in the same order.

    Args:
        model_path: Hugging Face checkpoint.
        config: the trainer's settings.
    """

    def __init__(self, model_path: str, config: TrainerConfig) -> None:
        model = AutoModelForCausalLM.from_pretrained(model_path, dtype=getattr(torch, config.dtype))
        _remove_dropout(model)
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        total = config.steps * config.minibatches

        def schedule(optimizer: Optimizer) -> LambdaLR:
            return LambdaLR(optimizer, lambda step: learning_rate_factor(config.optimizer, step, total))

        self._engine, *_ = deepspeed.initialize(
            model=model,
            model_parameters=[parameter for parameter in model.parameters() if parameter.requires_grad],
            config=deepspeed_settings(config),
            lr_scheduler=schedule,
        )
        self._sharded = self._engine.zero_optimization_stage() == 3
        self._ranks = config.ranks

    @property
    def device(self) -> torch.device:
        return torch.device(self._engine.device)

    @property
    def learning_rate(self) -> float:
        """Of the next optimizer step."""
        return float(self._engine.get_lr()[0])

    def logits(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[N, L, V] for int64 [N, L]."""
        logits: torch.Tensor = self._engine(input_ids=input_ids, use_cache=False).logits
        return logits

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add this micro-batch's gradient; `last` marks the end of the accumulation.

        DeepSpeed averages gradients over ranks, and the loss is a share of a global sum.
        """
        self._engine.set_gradient_accumulation_boundary(is_boundary=last)
        self._engine.backward(loss * self._ranks)

    def step(self) -> float:
        """Clip, update the weights, move the schedule. The gradient norm before clipping.

        Raises:
            FloatingPointError: if the norm is not finite; the weights are then unusable or not updated.
        """
        # Around torch's optimizer in float32 DeepSpeed puts none of its own, and forgets the norm it clips by.
        plain = self._engine.optimizer is self._engine.basic_optimizer
        gradients = [parameter.grad for parameter in self._engine.module.parameters() if parameter.grad is not None]
        plain_norm = torch.nn.utils.get_total_norm(gradients) if plain else None
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm() if plain_norm is None else plain_norm)
        # DeepSpeed writes -1 for some norms that are not finite.
        if not math.isfinite(norm) or norm < 0:
            raise FloatingPointError(f"optimizer step {self._engine.global_steps} has the gradient norm {norm}")
        return norm

    def layout(self) -> list[TensorLayout]:
        """Names, dtypes and full shapes of the weights; tied weights once."""
        return [
            TensorLayout(name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape)))
            for name, parameter in self._engine.module.named_parameters()
        ]

    def tensors(self) -> Iterator[torch.Tensor]:
        """The full weights in the order of `layout`, gathered one at a time under ZeRO-3 (a collective).

        A tensor is only valid until the next one is taken.
        """
        for _, parameter in self._engine.module.named_parameters():
            gathered = deepspeed.zero.GatheredParameters([parameter]) if self._sharded else nullcontext()
            with gathered:
                yield parameter.data

    def save_pretrained(self, directory: str, *, write: bool) -> None:
        """A Hugging Face checkpoint; every rank takes part, the one told to writes it."""
        module = self._engine.module
        parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        # Buffers are the same on every rank and never sharded.
        state = {name: tensor for name, tensor in module.state_dict().items() if name not in parameters}
        for tensor_layout, tensor in zip(self.layout(), self.tensors(), strict=True):
            if write:
                state[tensor_layout.name] = tensor.detach().cpu().clone()
        if write:
            module.save_pretrained(directory, state_dict=state)


def _remove_dropout(model: torch.nn.Module) -> None:
    """Set every dropout rate to 0: the policy is a distribution, the same in every pass and in the engine."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _merged(settings: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in extra.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else value
    return merged
