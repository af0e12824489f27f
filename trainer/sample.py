"""What the trainer keeps of one completion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.records import Batch
from trainer.advantages import group_advantages


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One sequence to train on: P prompt tokens, then T completion tokens.

    Attributes:
        group: position of its group in the batch; mini-batches are made of whole groups.
        token_ids: int32 [P + T].
        prompt_length: P.
        behaviour_logprobs: float32 [T].
        loss_mask: bool [T], false where the token was not written by the policy or its grade failed.
        advantage: of every token of the completion.
    """

    group: int
    token_ids: NDArray[np.int32]
    prompt_length: int
    behaviour_logprobs: NDArray[np.float32]
    loss_mask: NDArray[np.bool_]
    advantage: float

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def trained_tokens(self) -> int:
        return int(self.loss_mask.sum())


def samples_of(batch: Batch, *, divide_by_std: bool) -> list[Sample]:
    """The samples of a batch in its order, with their advantages."""
    samples = []
    for position, group in enumerate(batch.groups):
        advantages = group_advantages(group.grades, divide_by_std=divide_by_std)
        for completion, grade, advantage in zip(group.completions, group.grades, advantages, strict=True):
            mask = np.zeros_like(completion.loss_mask) if grade.outcome.is_failure else completion.loss_mask
            samples.append(
                Sample(
                    group=position,
                    token_ids=np.concatenate([group.prompt_token_ids, completion.token_ids]),
                    prompt_length=len(group.prompt_token_ids),
                    behaviour_logprobs=completion.logprobs,
                    loss_mask=mask,
                    advantage=float(advantage),
                )
            )
    return samples
