"""The command `inflight`. Until a run starts, it imports neither torch, Ray, vLLM nor transformers."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """\
Asynchronous reinforcement-learning post-training for reasoning LLMs.

commands:
  train    compose a configuration and train; `inflight train --help` shows experiments and keys
  keys     list every key of the configuration with type, default and description
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None for those of the process.

    Returns:
        Exit status: 0 on success, 2 if the configuration or this machine does not allow the run, and what
        the run itself returns otherwise.

    Raises:
        SystemExit: with 0 after `--help`, with 2 if the arguments cannot be read.
    """
    began = time.monotonic()
    parser = argparse.ArgumentParser(
        prog="inflight",
        usage="inflight [-h] {train,keys} ...",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=("train", "keys"), help=argparse.SUPPRESS)
    # Each command reads the rest itself, for argparse cannot mix options and overrides in a subcommand.
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    try:
        return _train(given.arguments, began) if given.command == "train" else _keys(given.arguments)
    except BrokenPipeError:
        # `inflight keys | head` has read enough; the interpreter must not try to flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _train(argv: Sequence[str], began: float) -> int:
    from inflight.help import train_epilog

    parser = argparse.ArgumentParser(
        prog="inflight train",
        description="Compose a configuration from the files in configs/ and the overrides, check it, and train.",
        epilog=train_epilog() if {"-h", "--help"} & set(argv) else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="experiment=NAME, GROUP=NAME such as rollout=gpu, or a key"
    )
    parser.add_argument(
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="a folder of your own, laid out like configs/, whose files can be chosen too",
    )
    parser.add_argument(
        "--check", action="store_true", help="check everything, print the whole configuration, start nothing"
    )
    given = parser.parse_intermixed_args(argv)

    from inflight.compose import compose, to_yaml
    from inflight.preflight import check
    from inflight.refusal import RunRefusedError

    try:
        config = compose(given.overrides, given.config_dir)
        if given.check:
            # Also on a machine that cannot run it: a cluster's configuration is read on a laptop.
            sys.stdout.write(to_yaml(config))
        check(config)
    except RunRefusedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if given.check:
        return 0

    from inflight.run import run_training

    return run_training(config, given.overrides, began)


def _keys(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="inflight keys", description="List the keys of the configuration with type, default and description."
    )
    parser.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="e.g. trainer or rollout.engine")
    prefix = parser.parse_args(argv).prefix

    from inflight.help import key_list
    from inflight.schema import schema

    listed = key_list(prefix)
    if not listed:
        near = schema().nearest(prefix)
        hint = f" Did you mean {' or '.join(near)}?" if near else " `inflight keys` lists all."
        sys.stderr.write(f"No key begins with {prefix}.{hint}\n")
        return 2
    sys.stdout.write(listed)
    return 0
