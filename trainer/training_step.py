"""One training step on one rank: from a batch of graded groups to new weights."""

from __future__ import annotations

import torch
from torch import distributed

from replay.records import Batch
from trainer.config import TrainerConfig
from trainer.deepspeed_engine import DeepSpeedModel
from trainer.microbatches import plan_microbatches
from trainer.policy_loss import decoupled_ppo_loss
from trainer.sample import Sample, samples_of
from trainer.tensors import PaddedBatch, pad, token_logprobs


class TrainingStep:
    """Decoupled PPO over the mini-batches of one batch.

    Every rank holds the whole batch and computes its share, so that denominators are global without
    asking: the loss of an optimizer step is the sum over all tokens of the mini-batch divided by their
    number, whatever the ranks and micro-batches.

    The proximal policy is the one at the start of the training step. With one mini-batch it is the policy
    of the only forward pass, whose logprobs are used without gradient. With several, they are computed
    before the first update.

    Args:
        model: of this rank.
        config: the trainer's settings.
        rank: this rank's number.
        temperature: that completions are sampled with.
        padding_id: token that fills up rows.
    """

    def __init__(
        self, model: DeepSpeedModel, config: TrainerConfig, rank: int, temperature: float, padding_id: int
    ) -> None:
        self._model = model
        self._config = config
        self._rank = rank
        self._temperature = temperature
        self._padding_id = padding_id

    def run(self, batch: Batch) -> dict[str, float]:
        """Train on a batch; metrics averaged over its trained tokens, equal on all ranks.

        Raises:
            FloatingPointError: if a gradient is not finite.
        """
        samples = samples_of(batch, divide_by_std=self._config.advantage.divide_by_std)
        minibatches = [
            [sample for sample in samples if sample.group % self._config.minibatches == number]
            for number in range(self._config.minibatches)
        ]
        plans = [self._plan(minibatch) for minibatch in minibatches]
        proximal = [self._proximal_logprobs(plan) for plan in plans] if len(plans) > 1 else [None]

        sums: dict[str, torch.Tensor] = {}
        norms = []
        learning_rate = 0.0
        for minibatch, plan, known in zip(minibatches, plans, proximal, strict=True):
            tokens = max(1, sum(sample.trained_tokens for sample in minibatch))
            for number, microbatch in enumerate(plan):
                loss, statistics = self._loss(microbatch, known[number] if known is not None else None)
                self._model.backward(loss / tokens, last=number == len(plan) - 1)
                statistics["loss"] = loss.detach()
                for name, value in statistics.items():
                    sums[name] = sums.get(name, torch.zeros((), device=self._model.device)) + value
            learning_rate = self._model.learning_rate
            norms.append(self._model.step())
        metrics = self._averages(sums, sum(sample.trained_tokens for sample in samples))
        metrics["gradient_norm"] = sum(norms) / len(norms)
        metrics["learning_rate"] = learning_rate
        metrics["advantage_abs"] = sum(abs(sample.advantage) for sample in samples) / len(samples)
        return metrics

    def logprobs(self, batch: Batch) -> list[torch.Tensor]:
        """Logprobs of every completion's tokens under the present weights, in the batch's order.

        For checks: every rank computes all of them.
        """
        result = []
        for sample in samples_of(batch, divide_by_std=False):
            padded = pad([sample], self._model.device, self._padding_id)
            with torch.no_grad():
                logprobs = token_logprobs(self._model.logits(padded.input_ids), padded.input_ids, self._temperature)
            result.append(logprobs[0, sample.prompt_length - 1 :].cpu())
        return result

    def _plan(self, minibatch: list[Sample]) -> list[PaddedBatch]:
        plan = plan_microbatches(
            [len(sample) for sample in minibatch], self._config.tokens_per_microbatch, self._config.ranks
        )
        # A rank without work still takes part in collectives: the shortest sample, nothing of it in the loss.
        idle = pad([min(minibatch, key=len)], self._model.device, self._padding_id)
        idle.loss_mask.zero_()
        return [
            pad([minibatch[index] for index in share], self._model.device, self._padding_id) if share else idle
            for share in plan[self._rank]
        ]

    @torch.no_grad()
    def _proximal_logprobs(self, plan: list[PaddedBatch]) -> list[torch.Tensor]:
        return [
            token_logprobs(self._model.logits(padded.input_ids), padded.input_ids, self._temperature)
            for padded in plan
        ]

    def _loss(
        self, padded: PaddedBatch, proximal: torch.Tensor | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        theta = token_logprobs(self._model.logits(padded.input_ids), padded.input_ids, self._temperature)
        losses, sums = decoupled_ppo_loss(
            theta,
            theta.detach() if proximal is None else proximal,
            padded.behaviour_logprobs,
            padded.advantages,
            padded.loss_mask,
            self._config.loss,
        )
        return losses.sum(), sums

    def _averages(self, sums: dict[str, torch.Tensor], tokens: int) -> dict[str, float]:
        names = sorted(sums)
        values = torch.stack([sums[name].float() for name in names])
        if self._config.ranks > 1:
            distributed.all_reduce(values)
        means = {name: float(value) / max(1, tokens) for name, value in zip(names, values, strict=True)}
        # Effective sample size as a share: (Σw)² / (N·Σw²).
        squared = means.pop("ratio_squared/prox_behaviour")
        means["effective_sample_share"] = means["ratio/prox_behaviour"] ** 2 / squared if squared > 0 else 0.0
        means["trained_tokens"] = float(tokens)
        return means
