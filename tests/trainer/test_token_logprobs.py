from collections.abc import Sequence

import numpy as np
import pytest
import torch

from trainer import tensors
from trainer.sample import Sample
from trainer.tensors import pad, token_logprobs

CPU = torch.device("cpu")


def naive_logprobs(logits: np.ndarray, ids: np.ndarray, temperature: float) -> np.ndarray:
    """[N, L - 1] in float64, one token at a time."""
    result = np.zeros((ids.shape[0], ids.shape[1] - 1))
    for row in range(ids.shape[0]):
        for position in range(1, ids.shape[1]):
            scaled = [float(value) / temperature for value in logits[row, position - 1]]
            largest = max(scaled)
            normaliser = largest + np.log(sum(np.exp(value - largest) for value in scaled))
            result[row, position - 1] = scaled[ids[row, position]] - normaliser
    return result


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 1.9])
@pytest.mark.parametrize("rows_at_once", [1, 4, 10_000])
def test_logprobs_are_those_after_the_temperature(
    temperature: float, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "_ROWS_AT_ONCE", rows_at_once)
    random = np.random.default_rng(0)
    logits = random.normal(0, 4, (3, 7, 11)).astype(np.float32)
    ids = random.integers(0, 11, (3, 7))
    given = torch.tensor(logits, requires_grad=True)
    found = token_logprobs(given, torch.tensor(ids), temperature)
    np.testing.assert_allclose(found.detach(), naive_logprobs(logits, ids, temperature), rtol=1e-5, atol=1e-5)

    # d logprob / d logits = (1[token] - p) / temperature; the last position predicts nothing.
    upstream = random.normal(0, 1, (3, 6))
    (gradient,) = torch.autograd.grad(found, given, torch.tensor(upstream, dtype=torch.float32))
    scaled = logits[:, :-1].astype(np.float64) / temperature
    probabilities = np.exp(scaled - scaled.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    expected = upstream[..., None] * (np.eye(11)[ids[:, 1:]] - probabilities) / temperature
    np.testing.assert_allclose(gradient[:, :-1], expected, rtol=1e-4, atol=1e-5)
    assert not gradient[:, -1].any()


def test_logprobs_of_bfloat16_logits_are_not_rounded_again() -> None:
    random = np.random.default_rng(1)
    logits = torch.tensor(random.normal(0, 4, (2, 5, 50))).bfloat16()
    ids = random.integers(0, 50, (2, 5))
    found = token_logprobs(logits, torch.tensor(ids), 0.7)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, naive_logprobs(logits.float().numpy(), ids, 0.7), rtol=1e-5, atol=1e-5)


def test_no_second_tensor_of_the_size_of_the_logits_is_kept_for_the_backward_pass() -> None:
    logits = torch.randn(4, 64, 500, requires_grad=True)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() != logits.untyped_storage().data_ptr():
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        token_logprobs(logits, torch.randint(500, (4, 64)), 0.7).sum().backward()
    assert sum(kept.values()) < logits.untyped_storage().nbytes() / 20


def sample_of(prompt: Sequence[int], completion: Sequence[int], mask: Sequence[bool], advantage: float) -> Sample:
    return Sample(
        group=0,
        token_ids=np.array([*prompt, *completion], dtype=np.int32),
        prompt_length=len(prompt),
        behaviour_logprobs=-np.array(completion, dtype=np.float32) / 10,
        loss_mask=np.array(mask, dtype=np.bool_),
        advantage=advantage,
    )


def test_what_belongs_to_a_token_stands_where_it_is_predicted() -> None:
    batch = pad(
        [
            sample_of([1, 2, 3], [4, 5], [True, True], 0.5),
            sample_of([6], [7, 8, 9, 10, 11], [True, False, True, True, True], -1.0),
            sample_of([12, 13], [14], [True], 2.0),
            sample_of([15], [], [], 3.0),
        ],
        CPU,
        padding_id=99,
    )
    assert batch.input_ids.tolist() == [
        [1, 2, 3, 4, 5, 99],
        [6, 7, 8, 9, 10, 11],
        [12, 13, 14, 99, 99, 99],
        [15, 99, 99, 99, 99, 99],
    ]
    # The token at position p is predicted at p - 1.
    assert batch.loss_mask.int().tolist() == [[0, 0, 1, 1, 0], [1, 0, 1, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    expected = [[0, 0, 0.4, 0.5, 0], [0.7, 0.8, 0.9, 1.0, 1.1], [0, 1.4, 0, 0, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_allclose(batch.behaviour_logprobs, -np.array(expected), rtol=1e-6)
    assert batch.advantages.tolist() == [[0.5], [-1.0], [2.0], [3.0]]


def test_a_single_token_without_a_completion_passes() -> None:
    batch = pad([sample_of([15], [], [], 1.0)], CPU, padding_id=0)
    assert batch.loss_mask.shape == (1, 0)
    assert token_logprobs(torch.randn(1, 1, 20), batch.input_ids, 1.0).shape == (1, 0)
