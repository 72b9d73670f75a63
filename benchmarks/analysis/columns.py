"""The columns of scores and costs: their order in files, and which of them belong together."""

from benchmarks.config.registry import list_metrics

COSTS = (
    *("parameters", "training_flops_per_step", "sampling_flops_per_image"),
    *("train_seconds", "images_per_second", "peak_memory_mb", "score_seconds"),
)


HEADLINES = ("fid", "inception_score", "reconstruction_mse")
"""The scores that answers are given by."""


FIRST = (
    *("fid", "fid_best", "inception_score", "reconstruction_mse", "paired_mse", "psnr", "ssim"),
)


FURTHER = ("fid_floor", *(name for name in list_metrics() if name not in FIRST))


AGREEING = (
    *("kid", "inception_score", "precision", "recall", "density", "coverage", "class_kl"),
    *("modes", "high_quality"),
)
"""Metrics whose ranks are compared with those of FID, beside FID by further extractors."""


COMPARISON_COLUMNS = (
    *("contender", "family", "seeds", "fid", "fid_low", "fid_high"),
    *("inception_score", "inception_score_low", "inception_score_high"),
    *("reconstruction_mse", "reconstruction_mse_low", "reconstruction_mse_high"),
    *("reconstruction_protocol", "psnr", "ssim", "parameters", "train_seconds"),
    *("images_per_second", "peak_memory_mb", "diverged"),
    *("failed", "fid_best", "fid_best_low", "fid_best_high", "fid_last_over_best", "fid_spread"),
    *("best_step", "steps", "training_images", "training_flops_per_step", "training_flops"),
    *("sampling_flops_per_image", "score_seconds", "paired_mse", "samples", "reference"),
    *("extractor", "dataset"),
    *(f"{name}{end}" for name in FURTHER for end in ("", "_low", "_high")),
    *("code_size", "tuned", "training"),
)


STATUSES = {
    "diverged": {"diverged"},
    "failed": {"failed"},
    "collapsed": {"collapsed"},
}
"""The columns that count runs which did not go well, each with the statuses that it counts."""


PAIRS = frozenset(n for n, metric in list_metrics().items() if metric.about["inputs"] == "pairs")
"""The metrics of reconstructions."""
