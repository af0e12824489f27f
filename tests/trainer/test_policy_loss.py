"""The loss against a token loop in float64 with its derivative worked out by hand."""

from math import exp

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.config import LossConfig
from trainer.policy_loss import decoupled_ppo_loss

Array = NDArray[np.float64]


def naive_loss(
    theta: Array, proximal: Array, behaviour: Array, advantages: Array, mask: NDArray[np.bool_], config: LossConfig
) -> tuple[Array, Array, dict[str, float]]:
    """Loss and d loss / d theta per token, and the sums for the metrics."""
    loss, gradient = np.zeros(theta.shape), np.zeros(theta.shape)
    sums = dict.fromkeys(
        (
            "ratio/theta_prox",
            "clip_share/theta_prox",
            "ratio/prox_behaviour",
            "ratio_squared/prox_behaviour",
            "kl/behaviour_prox",
            "cut_share/prox_behaviour",
            "log_ratio_abs/prox_behaviour",
        ),
        0.0,
    )
    low, high = 1 - config.clip_low, 1 + config.clip_high
    for row, column in zip(*np.nonzero(mask), strict=True):
        advantage = advantages[row, 0]
        ratio = exp(theta[row, column] - proximal[row, column])
        log_weight = proximal[row, column] - behaviour[row, column]
        weight = min(exp(log_weight), config.max_behaviour_ratio)
        # The clip only ever takes away what would go further in the advantage's direction.
        clipped = (advantage > 0 and ratio > high) or (advantage < 0 and ratio < low)
        bound = high if advantage > 0 else low
        loss[row, column] = -weight * advantage * (bound if clipped else ratio)
        gradient[row, column] = 0.0 if clipped else -weight * advantage * ratio
        sums["ratio/theta_prox"] += ratio
        sums["clip_share/theta_prox"] += clipped
        sums["ratio/prox_behaviour"] += exp(log_weight)
        sums["ratio_squared/prox_behaviour"] += exp(log_weight) ** 2
        sums["kl/behaviour_prox"] += exp(log_weight) - 1 - log_weight
        sums["cut_share/prox_behaviour"] += exp(log_weight) > config.max_behaviour_ratio
        sums["log_ratio_abs/prox_behaviour"] += abs(log_weight)
    return loss, gradient, sums


def run(
    theta: Array, proximal: Array, behaviour: Array, advantages: Array, mask: NDArray[np.bool_], config: LossConfig
) -> tuple[Array, Array, dict[str, float]]:
    given = torch.tensor(theta, dtype=torch.float32, requires_grad=True)
    loss, sums = decoupled_ppo_loss(
        given,
        *(torch.tensor(array, dtype=torch.float32) for array in (proximal, behaviour, advantages)),
        torch.tensor(mask),
        config,
    )
    assert loss.dtype == torch.float32
    loss.sum().backward()
    assert given.grad is not None
    assert not any(value.requires_grad for value in sums.values())
    return (
        loss.detach().double().numpy(),
        given.grad.double().numpy(),
        {name: float(value) for name, value in sums.items()},
    )


@pytest.mark.parametrize("seed", range(20))
def test_loss_gradient_and_metrics_equal_those_of_a_token_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, width = int(random.integers(1, 6)), int(random.integers(1, 40))
    config = LossConfig(
        clip_low=float(random.uniform(0.05, 0.5)),
        clip_high=float(random.uniform(0.05, 0.5)),
        max_behaviour_ratio=float(random.uniform(1.1, 6)),
    )
    proximal = random.normal(-2, 1, (rows, width))
    theta = proximal + random.normal(0, 0.3, (rows, width))
    behaviour = proximal + random.normal(0, 1, (rows, width))
    advantages = random.choice([-1.3, 0.0, 0.4, 2.0], (rows, 1))
    # Rows end anywhere, one is empty, and inside there are tokens that the policy did not write.
    lengths = random.integers(0, width + 1, rows)
    mask = (np.arange(width) < lengths[:, None]) & (random.random((rows, width)) < 0.8)
    arrays = tuple(array.astype(np.float32).astype(np.float64) for array in (theta, proximal, behaviour, advantages))

    loss, gradient, sums = run(*arrays, mask, config)
    expected_loss, expected_gradient, expected_sums = naive_loss(*arrays, mask, config)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
    assert sums == pytest.approx(expected_sums, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("advantage", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("log_weight", [-20.0, 0.0, 20.0])
@pytest.mark.parametrize("log_ratio", [-20.0, 0.0, 20.0])
def test_extreme_ratios_stay_finite(log_ratio: float, log_weight: float, advantage: float) -> None:
    proximal = np.array([[-25.0, -21.0]])
    arrays = (proximal + log_ratio, proximal, proximal - log_weight, np.array([[advantage]]), proximal < 0)
    config = LossConfig()
    loss, gradient, sums = run(*arrays, config)
    expected_loss, expected_gradient, expected_sums = naive_loss(*arrays, config)
    assert np.isfinite([*loss.ravel(), *gradient.ravel(), *sums.values()]).all()
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4)
    assert sums == pytest.approx(expected_sums, rel=1e-4)


def test_padding_with_impossible_logprobs_reaches_neither_loss_nor_gradient() -> None:
    # Behaviour logprobs of padding are 0, and the model may find it as unlikely as it likes.
    theta = np.array([[-1.0, -1e4, -1e4]])
    proximal = np.array([[-1.0, -5.0, -2e4]])
    mask = np.array([[True, False, False]])
    loss, gradient, sums = run(theta, proximal, np.array([[-1.0, 0.0, 0.0]]), np.array([[1.0]]), mask, LossConfig())
    assert loss.tolist() == [[-1.0, 0.0, 0.0]]
    assert gradient.tolist() == [[-1.0, 0.0, 0.0]]
    assert sums["ratio/theta_prox"] == sums["ratio/prox_behaviour"] == 1.0
    assert sums["kl/behaviour_prox"] == sums["log_ratio_abs/prox_behaviour"] == 0.0


def test_a_batch_without_a_trained_token_has_no_loss_and_no_gradient() -> None:
    theta = np.full((2, 3), -1.0)
    loss, gradient, sums = run(theta, theta - 1, theta - 2, np.ones((2, 1)), np.zeros((2, 3), bool), LossConfig())
    assert not loss.any()
    assert not gradient.any()
    assert not any(sums.values())


def test_no_gradient_flows_through_the_weight_of_the_proximal_policy() -> None:
    """With one mini-batch the proximal logprobs are theta's own; only u may be differentiated."""
    theta = torch.tensor([[-1.0]], requires_grad=True)
    arguments = torch.tensor([[-1.5]]), torch.tensor([[2.0]]), torch.tensor([[True]])
    loss, _ = decoupled_ppo_loss(theta, theta, *arguments, LossConfig())
    (gradient,) = torch.autograd.grad(loss.sum(), theta)
    # Through u the gradient is that of theta minus proximal, both theta here: 0. Through w it would not be.
    assert gradient.item() == 0.0
    detached, _ = decoupled_ppo_loss(theta, theta.detach(), *arguments, LossConfig())
    (gradient,) = torch.autograd.grad(detached.sum(), theta)
    assert gradient.item() == pytest.approx(-2.0 * exp(0.5), rel=1e-6)
