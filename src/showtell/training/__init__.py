"""Training: one loop, its objectives, schedules, checkpoints and trackers."""
