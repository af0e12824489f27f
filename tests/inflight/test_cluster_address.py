"""Which Ray a run uses, and what is said if it is not there."""

import socket

import pytest

from inflight.cluster import Cluster, ClusterError, address_of
from inflight.config import ClusterConfig


def test_the_configured_address_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address_of(ClusterConfig()) is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert address_of(ClusterConfig()) == "10.0.0.1:6379"
    assert address_of(ClusterConfig(address="auto")) == "auto"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_refused_instead_of_waited_for(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFLIGHT_RUN_ID", "")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{probe.getsockname()[1]}"
    cluster = Cluster(ClusterConfig(address=address), "run")
    with pytest.raises(ClusterError, match=r"correct cluster\.address or RAY_ADDRESS"):
        cluster.__enter__()
