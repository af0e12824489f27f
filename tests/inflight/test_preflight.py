"""What is missing on this machine is said before anything starts, all of it at once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inflight import machine, preflight
from inflight.compose import compose
from inflight.machine import cpu_count, gpu_count
from inflight.preflight import PreflightError

Check = Callable[..., dict[str, str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Reasons to refuse these overrides on a machine with 2 CPUs and no GPU."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(machine, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine, "gpu_count", lambda: 0)
    monkeypatch.setattr(machine, "free_bytes", lambda folder: 1 << 30)

    def reasons(*overrides: str) -> dict[str, str]:
        config = compose(["experiment=quickstart", f"run.dir={tmp_path / 'run'}", *overrides])
        try:
            preflight.check(config)
        except PreflightError as error:
            return {reason.where: reason.text for reason in error.reasons}
        return {}

    return reasons


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with the files of a checkpoint."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 96}))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def use(checkpoint: Path | str) -> list[str]:
    return ["model=checkpoint", f"model.path={checkpoint}"]


def test_quickstart_can_start_on_two_cores(check: Check) -> None:
    assert check() == {}


def test_everything_is_reported_at_once(check: Check, tmp_path: Path) -> None:
    found = check(
        *use(tmp_path / "none"),
        "curriculum.source.dataset=chain_sums",
        "rewards.grader=math_verif",
        "weight_sync.directory=/none",
        "trainer.ranks=2",
    )
    assert set(found) == {
        "model.path",
        "curriculum.source",
        "rewards.grader",
        "weight_sync.directory",
        "rollout.num_cpus, trainer.num_cpus",
    }


class TestModelPath:
    def test_a_whole_checkpoint(self, check: Check, checkpoint: Path) -> None:
        assert check(*use(checkpoint)) == {}

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
    def test_a_file_is_missing(self, check: Check, checkpoint: Path, name: str) -> None:
        checkpoint.joinpath(name).unlink()
        assert name.replace("model.", "*.") in check(*use(checkpoint))["model.path"]

    @pytest.mark.parametrize("files", [["tokenizer.model"], ["vocab.json", "merges.txt"]])
    def test_other_tokenizers(self, check: Check, checkpoint: Path, files: list[str]) -> None:
        checkpoint.joinpath("tokenizer.json").unlink()
        for name in files:
            checkpoint.joinpath(name).touch()
        assert check(*use(checkpoint)) == {}

    @pytest.mark.parametrize("path", ["Qwen/Qwen2.5-1.5B-Instruct", "org/model_1.0"])
    def test_a_name_on_the_hub_is_left_to_the_download(self, check: Check, path: str) -> None:
        assert check(*use(path)) == {}

    @pytest.mark.parametrize("path", ["/none", "./none", "a/b/c", "gpt2", "../a/b"])
    def test_a_folder_that_does_not_exist(self, check: Check, path: str) -> None:
        assert "there is no folder" in check(*use(path))["model.path"]

    def test_a_misspelt_folder_is_no_name_on_the_hub(
        self, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("outputs").mkdir()
        assert "there is no folder" in check(*use("outputs/modle"))["model.path"]

    def test_a_file(self, check: Check, checkpoint: Path) -> None:
        assert "is a file" in check(*use(checkpoint / "config.json"))["model.path"]

    def test_too_few_positions(self, check: Check, checkpoint: Path) -> None:
        found = check(*use(checkpoint), "rollout.engine.max_model_len=97")
        assert "rollout.engine.max_model_len=96" in found["rollout.engine.max_model_len, model.path"]

    def test_chat_template(self, check: Check, checkpoint: Path) -> None:
        asked = [*use(checkpoint), "curriculum.chat_template=true"]
        assert "has no chat template" in check(*asked)["curriculum.chat_template, model.path"]
        checkpoint.joinpath("tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
        assert check(*asked) == {}

    def test_snapshot_that_does_not_fit(
        self, check: Check, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(machine, "free_bytes", lambda folder: 999)
        assert "--shm-size" in check(*use(checkpoint))["weight_sync.directory"]


class TestRunFolder:
    @pytest.mark.parametrize("trace", ["ledger.sqlite", "config.yaml"])
    def test_it_holds_a_run(self, check: Check, tmp_path: Path, trace: str) -> None:
        tmp_path.joinpath(trace).touch()
        assert "Write another run.dir" in check(f"run.dir={tmp_path}")["run.dir"]

    def test_it_exists_without_a_run(self, check: Check, tmp_path: Path) -> None:
        assert check(f"run.dir={tmp_path}") == {}

    def test_it_cannot_be_made(self, check: Check, tmp_path: Path) -> None:
        tmp_path.joinpath("file").touch()
        assert "may not write" in check(f"run.dir={tmp_path}/file/run")["run.dir"]
        assert "is a file" in check(f"run.dir={tmp_path}/file")["run.dir"]

    def test_the_parent_may_not_be_written(
        self, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The mode of a folder says nothing to root, under which tests often run.
        monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
        assert f"may not write to {tmp_path}" in check(f"run.dir={tmp_path}/a/b")["run.dir"]


class TestMachine:
    def test_cpus(self, check: Check) -> None:
        text = check("rollout.num_cpus=1.5")["rollout.num_cpus, trainer.num_cpus"]
        assert "rollout.workers=1 x rollout.num_cpus=1.5 + trainer.ranks=1 x trainer.num_cpus=1" in text
        assert check("rollout.num_cpus=1.5", "cluster.num_cpus=3") == {}

    def test_gpus(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = ["rollout.num_gpus=1", "trainer.num_gpus=1"]
        assert "this machine has 0" in check(*asked)["rollout.num_gpus, trainer.num_gpus"]
        monkeypatch.setattr(machine, "gpu_count", lambda: 1)
        assert "reserve 2 GPUs" in check(*asked)["rollout.num_gpus, trainer.num_gpus"]
        monkeypatch.setattr(machine, "gpu_count", lambda: None)
        assert check(*asked) == {}

    @pytest.mark.parametrize("elsewhere", ["cluster.address", "RAY_ADDRESS"])
    def test_another_ray_speaks_for_itself(
        self, check: Check, monkeypatch: pytest.MonkeyPatch, elsewhere: str
    ) -> None:
        asked = ["rollout.num_cpus=8", "rollout.num_gpus=1"]
        if elsewhere == "RAY_ADDRESS":
            monkeypatch.setenv("RAY_ADDRESS", "auto")
        else:
            asked.append("cluster.address=auto")
        assert check(*asked) == {}

    def test_the_quota_of_a_container_counts(self, tmp_path: Path) -> None:
        (tmp_path / "cpu.max").write_text("100000 100000\n")
        assert cpu_count(tmp_path) == 1
        (tmp_path / "cpu.max").write_text("max 100000\n")
        assert cpu_count(tmp_path) == cpu_count(tmp_path / "none")

    def test_gpus_are_counted_by_their_devices(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr("shutil.which", lambda name: None)
        assert gpu_count(tmp_path) == 0
        for name in ("nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm"):
            (tmp_path / name).touch()
        assert gpu_count(tmp_path) == 2
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert gpu_count(tmp_path) == 1
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert gpu_count(tmp_path) == 0

    def test_gpus_without_devices_cannot_be_counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
        assert gpu_count(tmp_path) is None


def test_wandb_that_is_not_installed(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install wandb" in check("run.tracking.wandb_project=sums")["run.tracking.wandb_project"]
