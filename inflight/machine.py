"""What this machine has, asked of the operating system alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def cpu_count(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that this process may use: a container's quota counts, not the host's cores."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cpus = os.cpu_count() or 1
    try:
        quota, period = cgroup.joinpath("cpu.max").read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else min(cpus, max(1, round(int(quota) / int(period))))


def gpu_count(devices: Path = Path("/dev")) -> int | None:
    """NVIDIA GPUs that are visible here; None if there are some and they cannot be counted."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    found = len(list(devices.glob("nvidia[0-9]*")))
    # WSL has no such files.
    return None if not found and shutil.which("nvidia-smi") else found


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written into the file system of `folder`."""
    return shutil.disk_usage(folder).free
