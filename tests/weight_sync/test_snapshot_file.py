import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from weight_sync.snapshot import TensorLayout, write_snapshot


def layout_of(tensors: dict[str, torch.Tensor]) -> list[TensorLayout]:
    return [TensorLayout(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """With odd sizes, so that later tensors do not start at multiples of their size."""
    torch.manual_seed(0)
    return {
        "model.layers.0.weight": torch.randn(5, 7),
        "odd.bfloat16": torch.randn(3).bfloat16(),
        "after.odd": torch.randn(2, 3, 4),
        "half": torch.randn(4, 4).half(),
        "transposed": torch.randn(6, 2).t(),
        "strided": torch.randn(8, 8)[::2, ::3],
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "not.finite": torch.tensor([float("nan"), float("inf"), -0.0]),
        "ünïcode": torch.randn(1),
    }


def test_the_format_s_own_reader_gives_back_every_bit(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "version-12.safetensors"
    size = write_snapshot(path, layout_of(tensors), iter(tensors.values()), 12)
    assert size == path.stat().st_size
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["version"] == "12"
        assert set(file.keys()) == set(tensors)
        for name, tensor in tensors.items():
            found = file.get_tensor(name)
            assert found.dtype == tensor.dtype
            assert found.shape == tensor.shape
            bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[tensor.element_size()]
            assert torch.equal(found.view(bits), tensor.contiguous().view(bits)), name


def test_a_gathered_tensor_is_written_before_the_next_one_takes_its_place(tmp_path: Path) -> None:
    buffer = torch.zeros(4)

    def gathered() -> Iterator[torch.Tensor]:
        for value in range(3):
            yield buffer.fill_(value)

    layout = [TensorLayout(str(number), torch.float32, (4,)) for number in range(3)]
    write_snapshot(tmp_path / "a.safetensors", layout, gathered(), 0)
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert [file.get_tensor(str(number)).tolist() for number in range(3)] == [[0.0] * 4, [1.0] * 4, [2.0] * 4]


@pytest.mark.parametrize(
    "written",
    [
        [torch.zeros(2, 2), torch.zeros(4)],
        [torch.zeros(2, 2), torch.zeros(3).bfloat16()],
        [torch.zeros(2, 2)],
        [torch.zeros(2, 2), torch.zeros(3), torch.zeros(1)],
        [torch.zeros(3), torch.zeros(2, 2)],
        [torch.zeros(4), torch.zeros(3)],
    ],
    ids=["shape", "dtype", "one missing", "one too many", "order", "same size, other shape"],
)
def test_tensors_that_differ_from_their_layout_leave_no_file(written: list[torch.Tensor], tmp_path: Path) -> None:
    layout = [TensorLayout("a", torch.float32, (2, 2)), TensorLayout("b", torch.float32, (3,))]
    with pytest.raises(ValueError, match=r"expected torch.float32|shorter|longer"):
        write_snapshot(tmp_path / "a.safetensors", layout, written, 1)
    assert os.listdir(tmp_path) == []


def test_a_dtype_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"counts: torch.int64"):
        write_snapshot(
            tmp_path / "a.safetensors", [TensorLayout("counts", torch.int64, (1,))], [torch.zeros(1).long()], 1
        )
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    layout = [TensorLayout("a", torch.float32, (2,))]
    write_snapshot(path, layout, [torch.ones(2)], 1)

    def lost_rank() -> Iterator[torch.Tensor]:
        raise TimeoutError("another rank never came")
        yield

    with pytest.raises(TimeoutError):
        write_snapshot(path, layout, lost_rank(), 2)
    assert os.listdir(tmp_path) == ["a.safetensors"]
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["version"] == "1"
        assert file.get_tensor("a").tolist() == [1.0, 1.0]


def test_the_file_is_not_there_under_its_name_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "version-1.safetensors"

    def watching() -> Iterator[torch.Tensor]:
        for _ in range(2):
            assert not path.exists()
            yield torch.ones(2)

    layout = [TensorLayout(name, torch.float32, (2,)) for name in "ab"]
    write_snapshot(path, layout, watching(), 1)
    assert os.listdir(tmp_path) == ["version-1.safetensors"]
