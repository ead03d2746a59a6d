"""Training a captioner from a recipe, and what is measured or made with the trained one.

1. `setup` resolves recipe, data, encoder and vocabulary (`adapt`, `word_counts`, `warm_start`, `caption_checks`).
2. `build` makes batches and model of these (`feature_sources`, `rehearsal`); `device` and `distributed` say where
   they run.
3. `trainer` has the order of events. A step is in `train_step`, with an objective of `objectives`, `lr_schedule` and
   `ema`; a validation in `evaluator`.
4. On disk: `run_dir` the run, `run_checkpoints` its ``best/`` and ``last/``, `trainer_state` what resumes it,
   `predictions` its captions, `tracking` its numbers (`meters`).

After a training: `evaluate`, `calibrate` and `datastore`.
"""
