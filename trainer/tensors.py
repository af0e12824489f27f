"""Samples as padded tensors, and the logprobs of their completion tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trainer.sample import Sample

# Rows of logits that are normalised at once, so that no second [tokens, vocabulary] tensor is held.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class PaddedBatch:
    """One micro-batch; N samples padded on the right to L tokens.

    The models are causal and padding follows the text, so no real token attends to it and no attention
    mask is needed. Arrays of width L - 1 belong to the tokens 1 … L - 1, each predicted from the one before.

    Attributes:
        input_ids: int64 [N, L].
        behaviour_logprobs: float32 [N, L - 1]; 0 outside completions.
        loss_mask: bool [N, L - 1].
        advantages: float32 [N, 1].
    """

    input_ids: torch.Tensor
    behaviour_logprobs: torch.Tensor
    loss_mask: torch.Tensor
    advantages: torch.Tensor


def pad(samples: Sequence[Sample], device: torch.device, padding_id: int) -> PaddedBatch:
    """Pad to the longest sample."""
    width = max(len(sample) for sample in samples)
    input_ids = np.full((len(samples), width), padding_id, dtype=np.int64)
    behaviour = np.zeros((len(samples), width - 1), dtype=np.float32)
    mask = np.zeros((len(samples), width - 1), dtype=np.bool_)
    for row, sample in enumerate(samples):
        input_ids[row, : len(sample)] = sample.token_ids
        completion = slice(sample.prompt_length - 1, len(sample) - 1)
        behaviour[row, completion] = sample.behaviour_logprobs
        mask[row, completion] = sample.loss_mask
    advantages = np.array([[sample.advantage] for sample in samples], dtype=np.float32)
    return PaddedBatch(*(torch.from_numpy(array).to(device) for array in (input_ids, behaviour, mask, advantages)))


def token_logprobs(logits: torch.Tensor, input_ids: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probability of every token given those before it, in float32.

    Args:
        logits: [N, L, V] of the model.
        input_ids: int64 [N, L].
        temperature: that the engine sampled with; behaviour logprobs are taken after it as well.

    Returns:
        float32 [N, L - 1].
    """
    rows = logits[:, :-1].reshape(-1, logits.shape[-1])
    targets = input_ids[:, 1:].reshape(-1, 1)
    parts = [
        torch.log_softmax(part.float() / temperature, dim=-1).gather(-1, target)
        for part, target in zip(rows.split(_ROWS_AT_ONCE), targets.split(_ROWS_AT_ONCE), strict=True)
    ]
    return torch.cat(parts).reshape(input_ids.shape[0], -1)
