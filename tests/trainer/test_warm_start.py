from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from trainer.model_config import TinyModelConfig, WarmStartConfig
from trainer.tiny_model import END, PADDING
from trainer.warm_start import WarmStart, WarmStartReport

DEMONSTRATIONS = [
    (f"Work out {a} + {b} - {c}.", f"\n{a}+{b}={a + b}\n{a + b}-{c}={a + b - c}\n\\boxed{{{a + b - c}}}")
    for a, b, c in [(12, 34, 5), (7, 8, 19), (100, 250, 3), (9, 9, 9)]
]
TINY = TinyModelConfig(hidden_size=64, layers=2, heads=2, vocabulary_size=280, max_position_embeddings=96)
CONFIG = WarmStartConfig(steps=3, batch_size=4, threads=1)


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """The stage sets the number of threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WarmStartReport]:
    directory = tmp_path_factory.mktemp("warm_start") / "base_model"
    stage = WarmStart()
    report = stage.make(str(directory), TINY, CONFIG, DEMONSTRATIONS)
    assert stage.progress() == 3
    return directory, report


@pytest.fixture(scope="module")
def tokenizer(made: tuple[Path, WarmStartReport]) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(made[0])


def test_what_the_stage_leaves_is_an_ordinary_checkpoint(
    made: tuple[Path, WarmStartReport], tokenizer: PreTrainedTokenizerFast
) -> None:
    directory, report = made
    model, loading = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert sum(parameter.numel() for parameter in model.parameters()) == report.parameters
    assert report.steps == 3
    assert 0 < report.loss < 10
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.config.max_position_embeddings == TINY.max_position_embeddings
    assert [path.name for path in directory.parent.iterdir()] == ["base_model"]


@settings(max_examples=300)
@given(text=st.text(max_size=60))
def test_no_text_is_changed_by_encoding_and_decoding(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_tokenizer_that_is_loaded_is_the_one_that_was_saved(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PADDING, END)
    assert tokenizer("12+345").input_ids == tokenizer.convert_tokens_to_ids(["1", "2", "+", "3", "4", "5"])
    # A question's fixed wording is a few tokens, blanks included.
    assert len(tokenizer("Work out ").input_ids) < 4


def test_the_loss_is_on_the_whole_solution_with_its_end_and_on_nothing_else(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = torch.nn.functional.cross_entropy
    targets: list[torch.Tensor] = []

    def recorded(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        targets.append(target)
        return original(logits, target)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", recorded)
    WarmStart().make(str(tmp_path / "model"), TINY, CONFIG, DEMONSTRATIONS)
    assert len(targets) == CONFIG.steps
    allowed = {solution for _, solution in DEMONSTRATIONS}
    for target in targets:
        *solutions, rest = tokenizer.decode(target[target != -100]).split(END)
        assert rest == ""
        assert len(solutions) == CONFIG.batch_size
        assert allowed.issuperset(solutions)


def test_the_same_seed_makes_the_same_model(made: tuple[Path, WarmStartReport], tmp_path: Path) -> None:
    again = WarmStart().make(str(tmp_path / "again"), TINY, CONFIG, DEMONSTRATIONS)
    other = WarmStart().make(str(tmp_path / "other"), TINY, CONFIG.model_copy(update={"seed": 1}), DEMONSTRATIONS)
    assert again.loss == pytest.approx(made[1].loss, rel=1e-4)
    assert other.loss != pytest.approx(made[1].loss, rel=1e-4)


def test_a_demonstration_longer_than_the_context_is_named_before_any_step(tmp_path: Path) -> None:
    stage = WarmStart()
    tiny = TINY.model_copy(update={"max_position_embeddings": 20})
    with pytest.raises(ValueError, match=r"has \d+ tokens, more than model.tiny.max_position_embeddings: 20"):
        stage.make(str(tmp_path / "model"), tiny, CONFIG, DEMONSTRATIONS)
    assert stage.progress() == 0
    assert not any(tmp_path.iterdir())


def test_nothing_to_imitate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no worked solutions"):
        WarmStart().make(str(tmp_path / "model"), TINY, CONFIG, [])


def test_a_crash_while_writing_leaves_no_folder_under_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="no space left"):
        WarmStart().make(str(tmp_path / "model"), TINY, CONFIG, DEMONSTRATIONS)
    assert not (tmp_path / "model").exists()
