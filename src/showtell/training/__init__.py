"""The trainer, its objectives, schedules, checkpoints and trackers."""
