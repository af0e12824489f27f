"""Decoupled PPO: the objective and the statistics of its ratios."""

from __future__ import annotations

import torch

from trainer.config import LossConfig


def decoupled_ppo_loss(
    theta_logprobs: torch.Tensor,
    proximal_logprobs: torch.Tensor,
    behaviour_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    loss_mask: torch.Tensor,
    config: LossConfig,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss per token, and sums over the masked tokens for the metrics.

    loss = -w · min(u·A, clip(u, 1 - ε_low, 1 + ε_high)·A), with the three policies of AReaL's eq. 5
    (arXiv 2505.24298): u = π_theta/π_prox is the PPO ratio, and w = π_prox/π_behaviour, cut off at
    `max_behaviour_ratio`, accounts for the age and the engine of the policy that wrote the token.

    Args:
        theta_logprobs: float32 [N, L] of the policy being trained, with gradient.
        proximal_logprobs: float32 [N, L] at the start of the training step.
        behaviour_logprobs: float32 [N, L] as recorded by the engine.
        advantages: float32, broadcast over [N, L].
        loss_mask: bool [N, L].
        config: clip bounds and the bound on w.

    Returns:
        float32 [N, L], 0 where masked, and named sums without gradient.
    """
    # Padding has no behaviour logprob; its difference must not overflow before it is masked.
    log_ratio = torch.where(loss_mask, theta_logprobs - proximal_logprobs, 0.0)
    log_weight = torch.where(loss_mask, proximal_logprobs - behaviour_logprobs, 0.0).detach()
    ratio = log_ratio.exp()
    weight = log_weight.exp()
    kept_weight = weight.clamp(max=config.max_behaviour_ratio)
    clipped_ratio = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    surrogate = torch.minimum(ratio * advantages, clipped_ratio * advantages)
    loss = torch.where(loss_mask, -kept_weight * surrogate, 0.0)

    with torch.no_grad():
        clipped = (clipped_ratio * advantages < ratio * advantages) & loss_mask
        sums = {
            "ratio/theta_prox": torch.where(loss_mask, ratio, 0.0).sum(),
            "clip_share/theta_prox": clipped.sum(),
            "ratio/prox_behaviour": torch.where(loss_mask, weight, 0.0).sum(),
            "ratio_squared/prox_behaviour": torch.where(loss_mask, weight * weight, 0.0).sum(),
            "kl/behaviour_prox": torch.where(loss_mask, weight - 1 - log_weight, 0.0).sum(),
            "cut_share/prox_behaviour": ((weight > config.max_behaviour_ratio) & loss_mask).sum(),
            "log_ratio_abs/prox_behaviour": log_weight.abs().sum(),
        }
    return loss, sums
