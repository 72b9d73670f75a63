"""A run's spec: all that determines its outcome, and by its hash the run's name."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

PROTOCOL = 1
"""The protocol's version, raised whenever the same model would get other scores."""

CALIBRATION = "calibration"
"""The family of the rows `real` and `noise`."""

SCORING = frozenset(("protocol", "extractor", "views", "samples", "reconstructions", "likelihood"))
"""Fields of a run's spec that concern the scores of a trained model alone."""


class Likelihoods(BaseModel):
    """The estimation of likelihoods, of so many test images.

    Attributes:
        importance: codes per image for the importance-weighted bound.
        chains: chains per image of annealed importance sampling; 0 for none.
        distributions: steps of its annealing.
        simulated: generated images by which it is validated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    images: int = Field(100, ge=2, le=10**7)
    importance: int = Field(5_000, ge=1, le=10**9)
    chains: int = Field(4, ge=0, le=10**6)
    distributions: int = Field(500, ge=2, le=10**9)
    simulated: int = Field(16, ge=2, le=10**7)


class DataSpec(BaseModel):
    """The data set of a run, with the fingerprints of its content."""

    model_config = ConfigDict(frozen=True)

    name: str
    source: str | None
    image_size: int | None
    channels: int | None
    fingerprint: str
    source_fingerprint: str


class Sampler(BaseModel):
    """The sampler that the row CONTENDER_NAME is scored by, one of several of a contender.

    `validation` are the settings of the contender's first sampler, by which validation samples.
    """

    model_config = ConfigDict(frozen=True)

    contender: str
    name: str
    validation: dict[str, JsonValue]


class RunSpec(BaseModel):
    """All that determines a run's outcome on a given machine; see `Suite` for the shared fields."""

    model_config = ConfigDict(frozen=True)

    protocol: int
    data: DataSpec
    contender: str
    family: str
    model: str
    model_version: str
    settings: dict[str, JsonValue]
    images: int
    batch: int
    seed: int
    evaluations: int
    samples: int
    reconstructions: int
    extractor: str
    threads: int = Field(ge=1, le=1_024)
    device: str
    precision: str
    compile: bool
    likelihood: Likelihoods | None = None
    shards: int = 1
    views: tuple[str, ...] = ()
    sampler: Sampler | None = None
    loop: int = 1

    @property
    def name(self) -> str:
        """The run's name: contender, seed (none of calibration rows) and the hash of everything."""
        seed = "" if self.family == CALIBRATION else f"-s{self.seed}"
        return f"{self.contender}{seed}-{self.hash}"

    @property
    def hash(self) -> str:
        """The first 8 hex digits of the SHA-256 of the spec as canonical JSON.

        Fields at their defaults do not count, so that adding one renames no earlier run.
        """
        return hash_fields(self.model_dump(exclude_defaults=True))[:8]

    @property
    def training_key(self) -> str:
        """The SHA-256 of all that determines the trained model.

        Runs that differ only in how they sample or are scored share it, and so their training; only
        the best checkpoint is chosen by one extractor or another.
        """
        return hash_fields(self.training.model_dump(exclude_defaults=True, exclude=set(SCORING)))

    @property
    def training(self) -> "RunSpec":
        """The spec that is trained: the contender's, with the settings of its first sampler."""
        if self.sampler is None:
            return self
        settings = self.settings | self.sampler.validation
        fields = {"contender": self.sampler.contender, "settings": settings, "sampler": None}
        return self.model_copy(update=fields)


def hash_fields(fields: dict[str, Any]) -> str:
    """Return the SHA-256 of fields as canonical JSON."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
