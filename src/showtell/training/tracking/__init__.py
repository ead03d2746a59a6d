"""Where the numbers of a run go: always ``metrics.jsonl``, and the experiment trackers that the recipe names."""

from showtell.training.tracking.jsonl import read_metrics
from showtell.training.tracking.trackers import Trackers, require_trackers

__all__ = ["Trackers", "read_metrics", "require_trackers"]
