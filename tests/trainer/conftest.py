import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_batches import random_batch

from replay.records import Batch
from trainer.model_config import TinyModelConfig
from trainer.tiny_model import make_model, train_tokenizer

ROOT = Path(__file__).parents[2]
WORLD_TIMEOUT_SECONDS = 300.0


@pytest.fixture(scope="session")
def batches() -> list[Batch]:
    """Of two training steps, each with 15 samples in 3 groups."""
    return [random_batch(step, vocabulary=250, groups=3, n=5) for step in range(2)]


@pytest.fixture(scope="session")
def world_folder(tmp_path_factory: pytest.TempPathFactory, batches: list[Batch]) -> Path:
    """Checkpoints of tiny random models, and the batches, for `deepspeed_world.py`."""
    folder = tmp_path_factory.mktemp("world")
    tokenizer = train_tokenizer(["12+34=46"], 300)
    for name, tied in (("tied", True), ("untied", False)):
        torch.manual_seed(0)
        config = TinyModelConfig(
            hidden_size=64, layers=2, heads=2, max_position_embeddings=64, tie_word_embeddings=tied
        )
        model = make_model(config, tokenizer)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    shutil.copytree(folder / "untied", folder / "not finite")
    with torch.no_grad():
        model.get_output_embeddings().weight[0, 0] = torch.nan
    model.save_pretrained(folder / "not finite")
    shutil.copytree(folder / "tied", folder / "dropout")
    written = json.loads((folder / "dropout/config.json").read_text())
    (folder / "dropout/config.json").write_text(json.dumps(written | {"attention_dropout": 0.5}))
    (folder / "batches.pickle").write_bytes(pickle.dumps(batches))
    return folder


@pytest.fixture(scope="session")
def one_rank(world_folder: Path) -> dict[str, dict[str, Any]]:
    """What the only rank saw, by case."""
    return run_world(1, world_folder)[0]


@pytest.fixture(scope="session")
def two_ranks(world_folder: Path) -> list[dict[str, dict[str, Any]]]:
    """What each of two ranks saw, by case."""
    return run_world(2, world_folder)


def run_world(world_size: int, folder: Path) -> list[dict[str, dict[str, Any]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "TORCH_EXTENSIONS_DIR": str(folder / "compiled"),
    }
    script = Path(__file__).with_name("deepspeed_world.py")
    deadline = time.monotonic() + WORLD_TIMEOUT_SECONDS
    processes = []
    logs = [folder / f"world-{world_size}-rank-{rank}.log" for rank in range(world_size)]
    try:
        for rank, log in enumerate(logs):
            command = [sys.executable, str(script), str(rank), str(world_size), str(port), str(folder)]
            with log.open("wb") as output:
                processes.append(
                    subprocess.Popen(
                        command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                    )
                )
        codes: list[int | None] = [None] * world_size
        # A rank that dies leaves the others waiting in a collective; they need not be waited for.
        while None in codes and not any(codes) and time.monotonic() < deadline:
            time.sleep(0.1)
            codes = [process.poll() for process in processes]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if any(code != 0 for code in codes):
        tails = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3000:]}" for log in logs)
        raise RuntimeError(f"the ranks ended with {codes} (None: killed)\n{tails}")
    return [
        torch.load(folder / f"world-{world_size}-rank-{rank}.pt", weights_only=False) for rank in range(world_size)
    ]
