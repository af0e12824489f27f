"""The supervised stage before reinforcement: a tiny model imitates worked solutions."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.model_config import TinyModelConfig, WarmStartConfig

_WARMUP_STEPS = 20
# Share of the peak rate that is left at the last step.
_FINAL_RATE = 0.02


@dataclass(frozen=True, slots=True)
class WarmStartReport:
    """What the stage did."""

    parameters: int
    steps: int
    loss: float
    seconds: float


class WarmStart:
    """Makes a tiny model, teaches it, and writes an ordinary checkpoint folder.

    Made into an actor by the run with `ray.remote(WarmStart)`, with a second thread for `progress`.
    """

    def __init__(self) -> None:
        self._step = 0

    def progress(self) -> int:
        """Steps done so far."""
        return self._step

    def make(
        self,
        directory: str,
        tiny: TinyModelConfig,
        config: WarmStartConfig,
        demonstrations: Sequence[tuple[str, str]],
    ) -> WarmStartReport:
        """Train on pairs of prompt and worked solution; the loss is on the solutions only.

        Raises:
            ValueError: if there are no demonstrations, or one is longer than the model's context.
        """
        import torch
        from torch.nn.functional import cross_entropy

        from trainer.tiny_model import make_model, train_tokenizer

        if not demonstrations:
            raise ValueError("there are no worked solutions to imitate")
        began = time.monotonic()
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        tokenizer = train_tokenizer((prompt + solution for prompt, solution in demonstrations), tiny.vocabulary_size)
        model = make_model(tiny, tokenizer)
        encoded = [
            (tokenizer(prompt).input_ids, [*tokenizer(solution).input_ids, tokenizer.eos_token_id])
            for prompt, solution in demonstrations
        ]
        longest = max(len(prompt) + len(solution) for prompt, solution in encoded)
        if longest > tiny.max_position_embeddings:
            raise ValueError(
                f"a worked solution with its prompt has {longest} tokens, more than "
                f"model.tiny.max_position_embeddings: {tiny.max_position_embeddings}"
            )
        optimizer = torch.optim.AdamW(
            [
                {"params": [weight for weight in model.parameters() if weight.ndim > 1], "weight_decay": 0.01},
                {"params": [weight for weight in model.parameters() if weight.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.95),
            fused=True,
        )
        order = random.Random(config.seed)
        loss = torch.zeros(())
        model.train()
        for step in range(config.steps):
            warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
            fall = max(_FINAL_RATE, 1.0 - step / config.steps)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * warmup * fall
            chosen = [encoded[order.randrange(len(encoded))] for _ in range(config.batch_size)]
            width = max(len(prompt) + len(solution) for prompt, solution in chosen)
            input_ids = torch.full((len(chosen), width), tokenizer.pad_token_id)
            targets = torch.full((len(chosen), width), -100)
            for row, (prompt, solution) in enumerate(chosen):
                end = len(prompt) + len(solution)
                input_ids[row, :end] = torch.tensor(prompt + solution)
                targets[row, len(prompt) : end] = torch.tensor(solution)
            logits = model(input_ids=input_ids, use_cache=False).logits
            loss = cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            self._step = step + 1
        partial = f"{directory}.partial"
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        os.replace(partial, directory)
        return WarmStartReport(
            sum(parameter.numel() for parameter in model.parameters()),
            config.steps,
            float(loss),
            time.monotonic() - began,
        )
