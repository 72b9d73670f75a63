"""Pure functions that score generated images, and the extractors that supply their features.

A new metric or extractor is one decorated function in one new module of this package.
"""

from importlib import import_module
from pkgutil import iter_modules

from metrics.classifier import ClassifierExtractor, load_or_train_classifier, train_classifier
from metrics.features import EXTRACTORS, Extractor, Features, Material, build_extractor
from metrics.frechet import Moments, frechet_distance, frechet_interval
from metrics.inception import InceptionExtractor
from metrics.inception_score import inception_score
from metrics.reconstruction import psnr, reconstruction_mse, ssim
from metrics.score import INTERVALS, METRICS, Metadata, Metric, interval, metric
from metrics.uncertainty import Interval, jackknife, mean_interval
from metrics.untrained import RandomExtractor

__all__ = [
    "EXTRACTORS",
    "INTERVALS",
    "METRICS",
    "ClassifierExtractor",
    "Extractor",
    "Features",
    "InceptionExtractor",
    "Interval",
    "Material",
    "Metadata",
    "Metric",
    "Moments",
    "RandomExtractor",
    "build_extractor",
    "frechet_distance",
    "frechet_interval",
    "inception_score",
    "interval",
    "jackknife",
    "load_or_train_classifier",
    "mean_interval",
    "metric",
    "psnr",
    "reconstruction_mse",
    "ssim",
    "train_classifier",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
