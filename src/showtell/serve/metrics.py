"""Metrics for Prometheus; those of several workers are added up."""

import os
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Names, in the environment, the folder in which workers add up their metrics."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters, gauges and histograms of a server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry, multiprocess_mode="livesum")
        seconds = partial(Histogram, registry=self.registry, buckets=_SECONDS)
        self.requests = counter("showtell_requests", "Requests by route and status", ["route", "status"])
        self.seconds = seconds("showtell_request_seconds", "Seconds to an answer", ["route"])
        self.phases = seconds("showtell_image_seconds", "Seconds of an image by phase", ["phase"])
        self.images = counter("showtell_images", "Images by result", ["result"])
        self.batch_seconds = seconds("showtell_batch_seconds", "Seconds of a batch")
        self.batch_sizes = Histogram(
            "showtell_batch_size", "Images of a batch", registry=self.registry, buckets=_SIZES
        )
        self.queue = gauge("showtell_queue_images", "Images that wait or are in work")
        self.ready = gauge("showtell_ready", "Workers that take requests")

    def on_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request by its route, never by what a client wrote; status 0: the client left."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def on_batch(self, size: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_sizes.observe(size)
        self.batch_seconds.observe(seconds)

    def render(self) -> bytes:
        """Return the metrics of this process, or of all workers."""
        registry = self.registry
        if SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
