import os
from pathlib import Path

import torch
from safetensors import safe_open

from weight_sync.publisher import SnapshotPublisher
from weight_sync.snapshot import TensorLayout

LAYOUT = [TensorLayout("weight", torch.float32, (3,))]


def publish(publisher: SnapshotPublisher, version: int) -> Path:
    return publisher.publish(version, LAYOUT, [torch.full((3,), float(version))])


def versions(directory: Path) -> list[str]:
    return sorted(path.name.removeprefix("version-").removesuffix(".safetensors") for path in directory.iterdir())


def test_shared_memory_holds_two_versions_and_never_the_newest_alone(tmp_path: Path) -> None:
    publisher = SnapshotPublisher(tmp_path / "not" / "there" / "yet")
    directory = tmp_path / "not" / "there" / "yet"
    for version, expected in enumerate([["0"], ["0", "1"], ["1", "2"], ["2", "3"]]):
        path = publish(publisher, version)
        assert versions(directory) == expected
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["version"] == str(version)
            assert file.get_tensor("weight").tolist() == [version] * 3


def test_a_reader_that_opened_a_snapshot_keeps_it_after_its_removal(tmp_path: Path) -> None:
    publisher = SnapshotPublisher(tmp_path)
    with safe_open(publish(publisher, 0), framework="pt") as file:
        for version in range(1, 4):
            publish(publisher, version)
        assert versions(tmp_path) == ["2", "3"]
        assert file.get_tensor("weight").tolist() == [0.0] * 3


def test_a_reader_that_linked_a_snapshot_keeps_it_after_its_removal(tmp_path: Path) -> None:
    publisher = SnapshotPublisher(tmp_path)
    own = tmp_path / "own"
    os.link(publish(publisher, 0), own)
    for version in range(1, 4):
        publish(publisher, version)
    with safe_open(own, framework="pt") as file:
        assert file.metadata()["version"] == "0"
        assert file.get_tensor("weight").tolist() == [0.0] * 3


def test_a_version_published_twice_is_not_removed_early(tmp_path: Path) -> None:
    publisher = SnapshotPublisher(tmp_path)
    for version in (0, 1, 1, 2):
        publish(publisher, version)
    assert versions(tmp_path) == ["1", "2"]


def test_a_snapshot_that_somebody_removed_does_not_end_the_run(tmp_path: Path) -> None:
    publisher = SnapshotPublisher(tmp_path)
    publish(publisher, 0).unlink()
    for version in (1, 2):
        publish(publisher, version)
    assert versions(tmp_path) == ["1", "2"]
