from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from finished_groups import contents, finished, problems

from curriculum.sampler import ShuffledSampler
from replay.actor import BufferActor
from replay.client import BufferClient
from replay.config import ReplayConfig
from replay.ledger import FILE_NAME, Ledger

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.e2e


@pytest.fixture
def buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    # The actor's process imports the modules beside this one.
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path(__file__).parents[2]}")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        config = ReplayConfig(max_staleness=1, groups_per_batch=2)
        sampler = ShuffledSampler(problems(5), seed=0)
        yield ray.remote(BufferActor).options(num_cpus=0).remote(str(tmp_path), config, sampler, 5)
    finally:
        ray.shutdown()


def test_a_buffer_that_is_killed_is_an_error_for_who_waits_and_keeps_what_it_acknowledged(
    buffer: object, tmp_path: Path
) -> None:
    async def story() -> list[object]:
        client = BufferClient(buffer)
        waiting = asyncio.ensure_future(client.newest_version(-1, 60.0))
        await client.publish(0, "snapshot-0")
        assert await waiting == (0, "snapshot-0")
        await client.loaded("w", 0)
        leases = await client.lease("w", 4, 60.0)
        assert leases is not None
        groups = [finished(lease) for lease in leases]
        for group in groups[1:3]:
            assert await client.deliver("w", group)
        summary = await client.select_batch(0, 60.0)
        assert summary is not None
        assert summary.groups == 2
        batch = await client.batch_reference(0)
        assert [contents(group) for group in batch.groups] == [contents(group) for group in groups[1:3]]
        with pytest.raises(ValueError, match="version 7 cannot follow 0"):
            await client.publish(7, "snapshot-7")
        waiting = asyncio.ensure_future(client.newest_version(0, 60.0))
        await asyncio.sleep(0)
        ray.kill(buffer)
        with pytest.raises(ray.exceptions.RayError):
            await waiting
        with pytest.raises(ray.exceptions.RayError):
            await client.deliver("w", groups[0])
        return [contents(group) for group in groups[1:3]]

    acknowledged = asyncio.run(asyncio.wait_for(story(), 300.0))
    with Ledger(tmp_path / FILE_NAME) as ledger:
        assert ledger.count_by_state() == {"batched": 2, "leased": 2}
        assert [contents(group) for group in ledger.batch(0).groups] == acknowledged
