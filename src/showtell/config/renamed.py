"""Former names of recipe keys and values: an old recipe is answered by the new name, never read."""

RENAMED_KEYS = {
    "data.captions": "data.captions_per_image",
    "data.max_words": "data.max_tokens",
    "data.augment.views": "data.augment.mode",
    "encoder.grid": "encoder.region_grid",
    "encoder.stages": "encoder.out_stages",
    "encoder.layout": "encoder.stride_in",
    "encoder.preprocessing.corner.share": "encoder.preprocessing.corner.fraction",
    "decoder.memory": "decoder.region_dim",
    "decoder.memory_dropout": "decoder.region_dropout",
    "decoder.head": "decoder.image_head",
    "decoder.refiners": "decoder.refine_layers",
    "objective.N.start_share": "objective.N.interpolate_init",
    "objective.N.teaching": "objective.N.distillation_weight",
    "objective.N.anew": "objective.N.reinit",
    "objective.N.consensus": "",
    "optimizer.clip": "optimizer.max_grad_norm",
    "schedule.floor": "schedule.min_lr_ratio",
    "training.pictures": "training.batch_size",
    "training.micro_pictures": "training.micro_batch_size",
    "training.averaging": "training.ema_decay",
    "training.start": "training.init_from",
    "training.early_stopping": "training.early_stopping_patience",
    "validation.pictures": "validation.eval_batch_size",
    "search": "generation",
    "search.beams": "generation.beam_size",
    "search.max_words": "generation.max_tokens",
    "search.min_words": "generation.min_tokens",
    "search.no_repeat_ngram": "generation.no_repeat_ngram_size",
}
"""Key by former key, N for the number of a phase; empty where the key was removed."""

RENAMED_VALUES = {
    "data.augment.mode=live": "random_crop",
    "data.augment.mode=corners": "corner_crops",
    "data.augment.mode=windows": "feature_windows",
}

RENAMED = {
    **RENAMED_KEYS,
    **RENAMED_VALUES,
    **{old.replace("search.", "generation."): new for old, new in RENAMED_KEYS.items() if "search." in old},
}

RENAMED_OPTIONS = {
    old.removeprefix("search."): new.removeprefix("generation.")
    for old, new in RENAMED_KEYS.items()
    if old.startswith("search.")
}
"""The same for decoding options on their own."""
