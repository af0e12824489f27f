"""`ray job submit` on a cluster that was started with `ray start --head` and asks for a token."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import MARK, ROOT, marked_processes

pytestmark = pytest.mark.e2e


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class TokenCluster:
    """A cluster with its own token, as the README has it; its processes carry a mark."""

    def __init__(self, home: Path, temporary: Path) -> None:
        self._mark = uuid.uuid4().hex
        self._ray = str(Path(sys.executable).with_name("ray"))
        self._dashboard = free_port()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(home),
            "PATH": path,
            "RAY_AUTH_MODE": "token",
            MARK: self._mark,
        }
        self.ray("get-auth-token", "--generate")
        ports = [f"--port={free_port()}", f"--dashboard-port={self._dashboard}"]
        self.ray("start", "--head", "--num-cpus=2", f"--temp-dir={temporary}", "--disable-usage-stats", *ports)

    def ray(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [self._ray, *arguments],
            cwd=ROOT,
            env=environment or self.environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        return output

    def submit(self, *command: str, environment: dict[str, str] | None = None) -> str:
        address = f"--address=http://127.0.0.1:{self._dashboard}"
        return self.ray("job", "submit", address, "--working-dir", ".", "--", *command, environment=environment)

    def of_the_run(self) -> list[str]:
        """Command lines of living processes that a run started on the cluster."""
        return [
            " ".join(process.cmdline())
            for process in marked_processes(self._mark)
            if "INFLIGHT_RUN_ID" in process.environ()
        ]

    def kill(self) -> None:
        for process in marked_processes(self._mark):
            process.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[TokenCluster]:
    # The paths of Ray's sockets must stay short.
    temporary = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    home = tmp_path / "home"
    home.mkdir()
    cluster = None
    try:
        cluster = TokenCluster(home, temporary)
        yield cluster
    finally:
        if cluster is not None:
            cluster.kill()
        shutil.rmtree(temporary, ignore_errors=True)


def test_a_submitted_job_trains_on_the_running_cluster_and_leaves_it_running(
    cluster: TokenCluster, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    output = cluster.submit(
        *["python", "-m", "inflight", "train", "experiment=quickstart", f"run.dir={run_dir}"],
        *["trainer.steps=2", "model.warm_start.steps=5", "evaluation.problems=8"],
    )
    assert "succeeded" in output
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["steps"] == 2
    assert summary["processes_left"] == 0
    assert cluster.of_the_run() == []
    assert "Active" in cluster.ray("status"), "the cluster is not the run's to stop"

    stranger = {**cluster.environment, "HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    with pytest.raises(AssertionError, match=r"(?i)auth|token|401|403"):
        cluster.submit("python", "-c", "pass", environment=stranger)
