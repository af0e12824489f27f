"""Samples as padded tensors, and the logprobs of their completion tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from trainer.sample import Sample

# Rows of logits that are normalised at once, and again in the backward pass, so that no second
# [tokens, vocabulary] tensor is held.
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
    # The last logits of a row predict nothing; to leave them in saves a copy of all others.
    rows = logits.flatten(0, 1)
    targets = input_ids.roll(-1, dims=1).reshape(-1, 1)

    def part_logprobs(part: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(part.float() / temperature, dim=-1).gather(-1, target)

    parts = [
        checkpoint(part_logprobs, part, target, use_reentrant=False, preserve_rng_state=False)
        for part, target in zip(rows.split(_ROWS_AT_ONCE), targets.split(_ROWS_AT_ONCE), strict=True)
    ]
    return torch.cat(parts).view(input_ids.shape)[:, :-1]
