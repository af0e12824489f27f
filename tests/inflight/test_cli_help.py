"""The command line answers before anything heavy is imported, and refuses with exit status 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from inflight import cli

HEAVY = ("torch", "ray", "vllm", "transformers", "deepspeed", "datasets", "math_verify", "reasoning_gym")


def imported_by(*arguments: str) -> set[str]:
    """Names of the heavy modules that a command has imported when it ends."""
    code = (
        "import json, sys\n"
        "from inflight.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        f"sys.stderr.write(json.dumps([name for name in {HEAVY} if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["keys"], ["keys", "trainer"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported_by(*arguments) == set()


def test_check_imports_only_what_reads_the_problems(tmp_path: Path) -> None:
    assert imported_by("train", "--check", f"run.dir={tmp_path}") <= {"reasoning_gym"}


def test_check_prints_the_whole_configuration_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    assert cli.main(["train", "experiment=quickstart", "--check", "trainer.steps=7", f"run.dir={run_dir}"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["trainer"]["steps"], shown["trainer"]["loss"]["clip_low"]) == (7, 0.2)
    assert not run_dir.exists()


def test_check_shows_what_this_machine_cannot_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").touch()
    assert cli.main(["train", "--check", f"run.dir={tmp_path}"]) == 2
    output = capsys.readouterr()
    assert yaml.safe_load(output.out)["run"]["dir"] == str(tmp_path)
    assert "already holds a run" in output.err


def test_refusal_goes_to_stderr_with_status_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["train", "trainer.stpes=3"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Did you mean trainer.steps?" in output.err

    (tmp_path / "ledger.sqlite").touch()
    assert cli.main(["train", f"run.dir={tmp_path}"]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_options_and_overrides_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own"
    (own / "experiment").mkdir(parents=True)
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\ntrainer: {steps: 5}\n")
    arguments = ["train", "--check", "experiment=mine", f"--config-dir={own}", f"run.dir={tmp_path / 'run'}"]
    assert cli.main(arguments) == 0
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["steps"] == 5


def test_train_help_shows_experiments_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for part in ("experiment=quickstart", "two CPU cores", "trainer.steps", "inflight keys [PREFIX]", "--config-dir"):
        assert part in text


@pytest.mark.parametrize("arguments", [["tarin"], [], ["train", "--chekc"]])
def test_arguments_that_cannot_be_read(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_keys_with_a_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["keys", "trainer.optimizer"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trainer.optimizer.learning_rate: number > 0, no default"
    assert lines[1] == "    Peak learning rate."
    assert all(line.startswith(("trainer.optimizer.", "    ")) for line in lines)

    assert cli.main(["keys", "trainer.optimiser"]) == 2
    assert "Did you mean trainer.optimizer?" in capsys.readouterr().err


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m inflight keys | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model.path: ")
