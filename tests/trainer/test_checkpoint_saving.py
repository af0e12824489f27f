import os
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed_world import CASES
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.config import OptimizerConfig, TrainerConfig
from trainer.rank import TrainerRank

SAVED = [(ranks, name) for ranks, cases in CASES.items() for name, case in cases.items() if case.save]


@pytest.mark.e2e
@pytest.mark.parametrize(("world_size", "name"), SAVED)
def test_a_saved_checkpoint_is_the_model_that_was_trained(
    world_size: int, name: str, world_folder: Path, one_rank: dict[str, Any], two_ranks: list[dict[str, Any]]
) -> None:
    result = (one_rank if world_size == 1 else two_ranks[0])[name]
    case = CASES[world_size][name]
    model, report = AutoModelForCausalLM.from_pretrained(
        result["folder"] / "saved", dtype="auto", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    trained = load_file(result["folder"] / "snapshots" / f"version-{case.steps}.safetensors")
    loaded = dict(model.named_parameters())
    assert loaded.keys() == trained.keys()
    for key, value in trained.items():
        assert torch.equal(loaded[key], value), key
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tied == (case.model != "untied")

    tokenizer, before = (
        AutoTokenizer.from_pretrained(folder) for folder in (result["folder"] / "saved", world_folder / case.model)
    )
    text = "12 + 34 = 46, ✓"
    assert tokenizer(text).input_ids == before(text).input_ids
    assert tokenizer.eos_token_id == before.eos_token_id


@pytest.mark.e2e
def test_buffers_are_not_lost_in_saving(one_rank: dict[str, Any], two_ranks: list[dict[str, Any]]) -> None:
    for result in (one_rank["untied"], two_ranks[0]["zero 3"]):
        assert load_file(result["folder"] / "saved/model.safetensors")["counters"].tolist() == [0, 1, 2]


@pytest.mark.e2e
def test_training_does_not_switch_off_the_cache_in_the_saved_config(
    world_folder: Path, one_rank: dict[str, Any]
) -> None:
    saved, before = (
        AutoModelForCausalLM.from_pretrained(folder).config.use_cache
        for folder in (one_rank["untied"]["folder"] / "saved", world_folder / "untied")
    )
    assert saved == before
    assert before is True


class FakeModel:
    """Writes one file, as the real one does."""

    def save_pretrained(self, directory: str, *, write: bool) -> None:
        if write:
            Path(directory).mkdir()
            (Path(directory) / "model.safetensors").write_text("weights")


class FakeTokenizer:
    def __init__(self) -> None:
        self.full_disk = False

    def save_pretrained(self, directory: str) -> None:
        if self.full_disk:
            raise OSError("no space left on device")
        (Path(directory) / "tokenizer.json").write_text("tokenizer")


@pytest.fixture
def trainer() -> TrainerRank:
    config = TrainerConfig(steps=1, tokens_per_microbatch=1, optimizer=OptimizerConfig(learning_rate=1.0))
    rank = TrainerRank(0, config, 1.0)
    rank._model = FakeModel()  # type: ignore[assignment]
    rank._tokenizer = FakeTokenizer()
    rank._version = 1
    return rank


def test_a_crash_half_way_leaves_no_folder_under_the_final_name(trainer: TrainerRank, tmp_path: Path) -> None:
    trainer._tokenizer.full_disk = True
    with pytest.raises(OSError, match="no space left"):
        trainer.save(str(tmp_path))
    assert not (tmp_path / "step-1").exists()

    trainer._tokenizer.full_disk = False
    assert trainer.save(str(tmp_path)) == (1, str(tmp_path / "step-1"))
    assert sorted(os.listdir(tmp_path / "step-1")) == ["model.safetensors", "tokenizer.json"]
    assert os.listdir(tmp_path) == ["step-1"]


def test_a_crash_half_way_leaves_the_checkpoint_that_was_there(trainer: TrainerRank, tmp_path: Path) -> None:
    trainer.save(str(tmp_path))
    trainer._tokenizer.full_disk = True
    with pytest.raises(OSError, match="no space left"):
        trainer.save(str(tmp_path))
    assert sorted(os.listdir(tmp_path / "step-1")) == ["model.safetensors", "tokenizer.json"]
