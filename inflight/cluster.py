"""The Ray that a run uses: a running one, or one started here and stopped at the end."""

from __future__ import annotations

import logging
import os
import socket
from types import TracebackType
from typing import Any, Self

from inflight.config import ClusterConfig
from inflight.processes import RUN_ID_VARIABLE


class ClusterError(RuntimeError):
    """Ray cannot be started or reached."""


def address_of(config: ClusterConfig) -> str | None:
    """Address of the running Ray to use, or None to start one."""
    return config.address or os.environ.get("RAY_ADDRESS") or None


def _check_somebody_listens(address: str, timeout_seconds: float) -> None:
    """Ray itself waits for minutes for an address where nothing is, and cannot be interrupted meanwhile."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout_seconds).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray can be reached at {address} ({error}). Start one with `ray start --head`, correct "
            "cluster.address or RAY_ADDRESS, or remove both to start one here"
        ) from error


class Cluster:
    """Ray for the length of a `with` block. All its worker processes carry the run's mark.

    Raises:
        ClusterError: if Ray does not come up or cannot be reached.
    """

    def __init__(self, config: ClusterConfig, run_id: str) -> None:
        self._config = config
        self._run_id = run_id

    def __enter__(self) -> Self:
        import ray

        # Inherited by the Ray that is started here; a running one hands it on by the runtime environment.
        os.environ[RUN_ID_VARIABLE] = self._run_id
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        address = address_of(self._config)
        arguments: dict[str, Any] = {
            "logging_level": logging.ERROR,
            "log_to_driver": False,
            "runtime_env": {
                "env_vars": {RUN_ID_VARIABLE: self._run_id},
                "worker_process_setup_hook": "inflight.actor_process.set_up",
            },
        }
        if address is None:
            arguments |= {"address": "local", "num_cpus": self._config.num_cpus, "include_dashboard": False}
        else:
            arguments |= {"address": address}
            _check_somebody_listens(address, self._config.connect_timeout_seconds)
        try:
            ray.init(**arguments)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            where = f"reached at {address}" if address else "started here"
            raise ClusterError(f"Ray cannot be {where}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        ray.shutdown()

    def resources(self) -> str:
        """CPUs and GPUs that are free of those that Ray has, in words."""
        import ray

        total, free = ray.cluster_resources(), ray.available_resources()
        return ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s free" for name in ("CPU", "GPU"))
