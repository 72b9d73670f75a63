"""Pure functions that score generated images, and the extractors that supply their features.

A new metric or extractor is one decorated function in one new module of this package.
"""

from importlib import import_module
from pkgutil import walk_packages

from metrics.classes import class_coverage
from metrics.extractors.base import (
    Extractor,
    Features,
    Material,
    NotReady,
    build_extractor,
    hash_tensors,
)
from metrics.extractors.classifier import ClassifierExtractor, train_classifier
from metrics.extractors.inception import InceptionExtractor
from metrics.extractors.pixels import PixelsExtractor
from metrics.extractors.random import RandomExtractor
from metrics.extractors.timm import TimmExtractor
from metrics.fid import frechet_distance, frechet_infinity
from metrics.inception_score import inception_score
from metrics.intervals.base import Interval, jackknife, mean_interval, student_quantile
from metrics.intervals.fid import Floor, frechet_floor, frechet_interval
from metrics.kid import kernel_distance, kernel_distance_subsets
from metrics.likelihood import (
    Annealing,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    bits_per_dimension,
    evidence_bound,
    importance_bound,
    select_deviation,
)
from metrics.modes import mode_coverage
from metrics.moments import Moments
from metrics.parzen import parzen_log_likelihood, select_bandwidth
from metrics.prdc import precision_recall_density_coverage

# Records list scores in the order of registration.
# isort: split
from metrics.memorization import find_nearest, memorization
from metrics.reconstruction import lpips, mae, ms_ssim, psnr, reconstruction_mse, ssim
from metrics.registry import (
    EXTRACTORS,
    INTERVALS,
    METRICS,
    Aspect,
    Metadata,
    Metric,
    NotApplicable,
    extractor,
    interval,
    metric,
)

__all__ = ["EXTRACTORS", "INTERVALS", "METRICS", "Annealing", "Aspect", "ClassifierExtractor"]
__all__ += ["Extractor", "Features", "Floor", "InceptionExtractor", "Interval", "Material"]
__all__ += ["Metadata", "Metric", "Moments", "NotApplicable", "NotReady", "PixelsExtractor"]
__all__ += ["RandomExtractor", "TimmExtractor", "annealed_importance_sampling"]
__all__ += ["bidirectional_monte_carlo", "bits_per_dimension", "build_extractor"]
__all__ += ["class_coverage", "evidence_bound", "extractor", "find_nearest", "frechet_distance"]
__all__ += ["frechet_floor", "frechet_infinity", "frechet_interval", "hash_tensors"]
__all__ += ["importance_bound", "inception_score", "interval", "jackknife", "kernel_distance"]
__all__ += ["kernel_distance_subsets", "lpips", "mae", "mean_interval", "memorization", "metric"]
__all__ += ["mode_coverage", "ms_ssim", "parzen_log_likelihood"]
__all__ += ["precision_recall_density_coverage", "psnr", "reconstruction_mse", "select_bandwidth"]
__all__ += ["select_deviation", "ssim", "student_quantile", "train_classifier"]

FORMER_PLACES = ("metrics.score", "metrics.features")

for _module in walk_packages(__path__, f"{__name__}."):
    if _module.name not in FORMER_PLACES:
        import_module(_module.name)
