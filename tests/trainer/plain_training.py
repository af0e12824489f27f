"""The same training steps without DeepSpeed, padding, micro-batches or ranks: one sequence at a time."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from deepspeed_world import OPTIMIZER, TEMPERATURE
from transformers import AutoModelForCausalLM

from replay.records import Batch
from trainer.config import LossConfig

# The warm-up takes 2 optimizer steps; the linear course is over after 4 training steps.
RATES = {1: [0.25, 0.5], 2: [0.25, 0.5, 0.5, 0.5 * 5 / 6]}


class PlainTraining:
    """Weights and numbers after each training step.

    Attributes:
        weights: by name, one entry per training step.
        losses: sum over the trained tokens divided by their number, one entry per training step.
        norms: of the gradient before clipping, one entry per optimizer step.
        first_logprobs: of every completion of the first batch, before any update.
    """

    def __init__(self, model_path: Path, batches: Sequence[Batch], minibatches: int) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
        self.weights: list[dict[str, torch.Tensor]] = []
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.first_logprobs = [
            self._logprobs(group.prompt_token_ids, completion.token_ids).detach()
            for group, completion, _ in batches[0].samples()
        ]
        optimizer = torch.optim.AdamW(
            self._model.parameters(), betas=OPTIMIZER.betas, eps=OPTIMIZER.eps, weight_decay=OPTIMIZER.weight_decay
        )
        rates = iter(RATES[minibatches])
        for batch in batches:
            with torch.no_grad():
                proximal = [
                    self._logprobs(group.prompt_token_ids, completion.token_ids)
                    for group, completion, _ in batch.samples()
                ]
            total, trained = 0.0, 0
            for number in range(minibatches):
                loss, tokens = self._minibatch_loss(batch, proximal, number, minibatches)
                optimizer.zero_grad()
                (loss / tokens).backward()
                total, trained = total + float(loss.detach()), trained + tokens
                norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), OPTIMIZER.max_grad_norm)
                self.norms.append(float(norm))
                for parameters in optimizer.param_groups:
                    parameters["lr"] = next(rates)
                optimizer.step()
            self.losses.append(total / trained)
            self.weights.append({name: value.detach().clone() for name, value in self._model.named_parameters()})

    def _minibatch_loss(
        self, batch: Batch, proximal: Sequence[torch.Tensor], number: int, minibatches: int
    ) -> tuple[torch.Tensor, int]:
        loss, tokens, index = torch.zeros(()), 0, 0
        for position, group in enumerate(batch.groups):
            scores = [grade.score for grade in group.grades if grade.score is not None]
            mean = math.fsum(scores) / len(scores)
            deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (len(scores) - 1))
            for completion, grade in zip(group.completions, group.grades, strict=True):
                index += 1
                if grade.score is None or position % minibatches != number:
                    continue
                advantage = 0.0 if len(set(scores)) == 1 else (grade.score - mean) / (deviation + 1e-6)
                theta = self._logprobs(group.prompt_token_ids, completion.token_ids)
                mask = torch.from_numpy(completion.loss_mask)
                loss = loss + _losses(theta, proximal[index - 1], completion.logprobs, advantage)[mask].sum()
                tokens += int(mask.sum())
        return loss, tokens

    def _logprobs(self, prompt: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
        ids = torch.tensor([*prompt, *completion])
        logits = self._model(input_ids=ids[None]).logits[0] / TEMPERATURE
        every = torch.log_softmax(logits, dim=-1)[torch.arange(len(ids) - 1), ids[1:]]
        return every[len(prompt) - 1 :]


def _losses(theta: torch.Tensor, proximal: torch.Tensor, behaviour: object, advantage: float) -> torch.Tensor:
    config = LossConfig()
    ratio = torch.exp(theta - proximal)
    weight = torch.exp(proximal - torch.as_tensor(behaviour)).clamp(max=config.max_behaviour_ratio)
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    return -weight * torch.minimum(ratio * advantage, clipped * advantage)
