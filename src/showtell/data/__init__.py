"""From a published captioned set to batches: sources, the prepared set, the feature cache, the batches."""
