"""Real DeepSpeed against a plain loop: the same weights, however the work is divided."""

from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed_world import CASES
from plain_training import RATES, PlainTraining
from safetensors import safe_open
from safetensors.torch import load_file

from replay.records import Batch

pytestmark = pytest.mark.e2e

EVERY_CASE = [
    (ranks, name) for ranks, cases in CASES.items() for name in cases if name not in {"bfloat16", "dropout"}
]
EVERY_CASE = [(ranks, name) for ranks, name in EVERY_CASE if not name.startswith("not finite")]


@pytest.fixture(scope="session")
def plain(world_folder: Path, batches: list[Batch]) -> dict[tuple[str, int], PlainTraining]:
    """By model and number of mini-batches."""
    return {
        ("tied", 1): PlainTraining(world_folder / "tied", batches, 1),
        ("tied", 2): PlainTraining(world_folder / "tied", batches, 2),
        ("untied", 1): PlainTraining(world_folder / "untied", batches, 1),
    }


@pytest.fixture
def ranks(one_rank: dict[str, Any], two_ranks: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    return {1: [one_rank], 2: two_ranks}


def expected_of(plain: dict[tuple[str, int], PlainTraining], world_size: int, name: str) -> PlainTraining:
    case = CASES[world_size][name]
    return plain[case.model, case.config.get("minibatches", 1)]


def published(result: dict[str, Any], version: int) -> dict[str, torch.Tensor]:
    return load_file(result["folder"] / "snapshots" / f"version-{version}.safetensors")


@pytest.mark.parametrize(("world_size", "name"), EVERY_CASE)
def test_the_weights_do_not_depend_on_how_the_work_is_divided(
    world_size: int,
    name: str,
    world_folder: Path,
    ranks: dict[int, list[dict[str, Any]]],
    plain: dict[tuple[str, int], PlainTraining],
) -> None:
    expected = expected_of(plain, world_size, name)
    before = load_file(world_folder / CASES[world_size][name].model / "model.safetensors")
    for version in range(1, CASES[world_size][name].steps + 1):
        weights = published(ranks[world_size][0][name], version)
        assert weights.keys() == expected.weights[version - 1].keys() == before.keys()
        for key, value in expected.weights[version - 1].items():
            torch.testing.assert_close(
                weights[key], value, rtol=1e-5, atol=2e-6, msg=lambda text, key=key: key + text
            )
            # The tolerance is worth something: every weight moved by much more.
            assert (value - before[key]).abs().max() > 1e-4


@pytest.mark.parametrize(("world_size", "name"), EVERY_CASE)
def test_metrics_do_not_depend_on_how_the_work_is_divided(
    world_size: int,
    name: str,
    ranks: dict[int, list[dict[str, Any]]],
    plain: dict[tuple[str, int], PlainTraining],
    batches: list[Batch],
) -> None:
    expected = expected_of(plain, world_size, name)
    minibatches = CASES[world_size][name].config.get("minibatches", 1)
    for step, metrics in enumerate(ranks[world_size][0][name]["metrics"]):
        assert metrics["loss"] == pytest.approx(expected.losses[step], rel=1e-4, abs=1e-6)
        norms = expected.norms[step * minibatches : (step + 1) * minibatches]
        assert metrics["gradient_norm"] == pytest.approx(sum(norms) / len(norms), rel=1e-4)
        assert metrics["learning_rate"] == pytest.approx(RATES[minibatches][(step + 1) * minibatches - 1])
        assert metrics["trained_tokens"] == sum(
            int(completion.loss_mask.sum())
            for _, completion, grade in batches[step].samples()
            if not grade.outcome.is_failure
        )
        for other in ranks[world_size][1:]:
            assert {**other[name]["metrics"][step], "train_seconds": 0} == {**metrics, "train_seconds": 0}


def test_padding_and_sharding_change_no_logprob(
    ranks: dict[int, list[dict[str, Any]]], plain: dict[tuple[str, int], PlainTraining]
) -> None:
    for result in (ranks[1][0]["one micro-batch"], ranks[2][1]["zero 3"]):
        for found, expected in zip(result["logprobs"], plain["tied", 1].first_logprobs, strict=True):
            torch.testing.assert_close(torch.tensor(found), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["one micro-batch", "many micro-batches"])
def test_with_one_mini_batch_the_ppo_ratio_is_exactly_1(name: str, one_rank: dict[str, Any]) -> None:
    for metrics in one_rank[name]["metrics"]:
        assert metrics["ratio/theta_prox"] == 1.0
        assert metrics["clip_share/theta_prox"] == 0.0


@pytest.mark.parametrize("name", ["two mini-batches", "dropout"])
def test_the_proximal_policy_stays_that_of_the_start_of_the_training_step(
    name: str, one_rank: dict[str, Any], batches: list[Batch]
) -> None:
    # A behaviour logprob is a random number and so tells which token it belongs to.
    before = {
        behaviour: (position % 2, logprob)
        for (position, completion), logprobs in zip(
            [
                (position, completion)
                for position, group in enumerate(batches[0].groups)
                for completion in group.completions
            ],
            one_rank[name]["logprobs"],
            strict=True,
        )
        for behaviour, logprob in zip(completion.logprobs.tolist(), logprobs, strict=True)
    }
    tokens = {0: 0, 1: 0}
    moved = 0
    for call in one_rank[name]["seen"]:
        if call["version"] == 0:
            behaviour, proximal, theta = call["logprobs"]
            minibatch, expected = before[behaviour]
            assert proximal == pytest.approx(expected, abs=1e-5)
            tokens[minibatch] += 1
            if minibatch == 0:
                assert theta == proximal
            else:
                moved += abs(theta - proximal) > 1e-4
    assert tokens[0] > 50
    assert tokens[1] > 20
    assert moved > tokens[1] / 2


@pytest.mark.parametrize("name", ["not finite", "not finite, zero 2"])
def test_a_gradient_that_is_not_finite_ends_the_step_with_an_error(name: str, one_rank: dict[str, Any]) -> None:
    assert "gradient norm" in one_rank[name]["error"]
    assert one_rank[name]["metrics"] == []


def test_zero_3_publishes_whole_tensors_equal_to_those_of_zero_0(two_ranks: list[dict[str, Any]]) -> None:
    for version in (1, 2):
        whole, sharded = (published(two_ranks[0][name], version) for name in ("zero 0", "zero 3"))
        assert whole.keys() == sharded.keys()
        for key, value in whole.items():
            assert value.shape == sharded[key].shape
            torch.testing.assert_close(value, sharded[key], rtol=1e-5, atol=2e-6)


def test_ranks_do_not_write_over_each_others_snapshots(two_ranks: list[dict[str, Any]]) -> None:
    files = sorted(path.name for path in (two_ranks[1]["zero 3"]["folder"] / "snapshots").iterdir())
    assert files == ["version-1.safetensors", "version-2.safetensors"]


def test_bfloat16_weights_are_published_as_they_are(
    one_rank: dict[str, Any], plain: dict[tuple[str, int], PlainTraining]
) -> None:
    for version in (1, 2):
        weights = published(one_rank["bfloat16"], version)
        for key, value in plain["tied", 1].weights[version - 1].items():
            assert weights[key].dtype == torch.bfloat16
            # Two roundings to 8 bits: of the weights at the start, and of what is published.
            torch.testing.assert_close(weights[key].float(), value, rtol=2**-7, atol=1e-3)


def test_further_deepspeed_keys_do_not_replace_whole_sections(one_rank: dict[str, Any]) -> None:
    settings = one_rank["extra"]["settings"]
    assert settings["zero_optimization"] == {"stage": 2, "reduce_bucket_size": 1000}
    assert settings["seed"] == 7
    assert settings["optimizer"]["type"] == "AdamW"


@pytest.mark.usefixtures("one_rank", "two_ranks")
def test_a_rank_starts_without_a_compiler(world_folder: Path) -> None:
    assert not (world_folder / "compiled").exists()


def test_a_snapshot_says_which_version_it_holds(two_ranks: list[dict[str, Any]]) -> None:
    for version in (1, 2):
        with safe_open(two_ranks[0]["zero 3"]["folder"] / f"snapshots/version-{version}.safetensors", "pt") as file:
            assert file.metadata()["version"] == str(version)
