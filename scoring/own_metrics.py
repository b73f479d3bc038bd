"""What this process counts with prometheus_client itself, such as its answers by status: beside the table's metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

PREFIX = "headrace_"


def own_text(registry: CollectorRegistry = REGISTRY) -> str:
    """Ours of the metrics of a registry, in Prometheus's text format, as this process alone has counted them."""
    ours = CollectorRegistry(auto_describe=False)
    ours.register(_Ours(registry))
    return generate_latest(ours).decode()


class _Ours(Collector):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        return (family for family in self._registry.collect() if family.name.startswith(PREFIX))
