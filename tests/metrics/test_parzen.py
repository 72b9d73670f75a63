import math

import numpy as np
import pytest
import torch
from draws import normal
from scipy.stats import gaussian_kde, multivariate_normal

from metrics.parzen import IMAGES, SAMPLES, parzen_log_likelihood, select_bandwidth


def test_it_is_the_gaussian_mixture_about_the_samples():
    samples, images = normal(7, 1, 2, 3, seed=1), normal(5, 1, 2, 3, seed=2)
    found = parzen_log_likelihood(samples, images, 0.4)
    rows = images.flatten(1).numpy()
    parts = [multivariate_normal(y, 0.4**2).pdf(rows) for y in samples.flatten(1).numpy()]
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, np.log(np.mean(parts, axis=0)), rtol=1e-10)


def test_it_agrees_with_scipy_over_many_tiles():
    samples, images = normal(2 * SAMPLES + 3, 1, seed=1), normal(IMAGES + 5, 1, seed=2)
    peer = gaussian_kde(samples[:, 0].numpy(), bw_method=0.3)
    deviation = math.sqrt(peer.covariance.item())
    found = parzen_log_likelihood(samples, images, deviation)
    np.testing.assert_allclose(found, peer.logpdf(images[:, 0].numpy()), rtol=1e-9)


def test_it_is_finite_where_a_density_underflows():
    found = parzen_log_likelihood(torch.zeros(3, 784), torch.ones(2, 784), 0.02)
    exact = -784 / 2 * (1 / 0.02**2 + math.log(2 * math.pi * 0.02**2))
    np.testing.assert_allclose(found, [exact, exact], rtol=1e-12)


def test_the_bandwidth_is_the_one_under_which_validation_images_are_most_probable():
    samples, images = normal(300, 4, seed=1), normal(100, 4, seed=2)
    choices = [0.05, 0.2, 0.5, 1.0, 3.0]
    found = select_bandwidth(samples, images, choices)
    means = [parzen_log_likelihood(samples, images, h).mean().item() for h in choices]
    assert found == choices[int(np.argmax(means))]
    assert 0.05 < found < 3


def test_a_larger_sample_brings_it_nearer_to_the_density():
    images = normal(200, 8, seed=2)
    truth = multivariate_normal(np.zeros(8)).logpdf(images.numpy()).mean()
    fits = []
    for count in (50, 500, 5000):
        samples = normal(count, 8, seed=3)
        bandwidth = select_bandwidth(samples, normal(200, 8, seed=4))
        fits.append(parzen_log_likelihood(samples, images, bandwidth).mean().item())
    assert fits[0] < fits[1] < fits[2] < truth


@pytest.mark.parametrize(
    ("samples", "images", "deviation", "message"),
    [
        (torch.rand(3, 4), torch.rand(2, 5), 0.1, "differ in shape"),
        (torch.rand(0, 4), torch.rand(2, 4), 0.1, "one or more of each"),
        (torch.rand(3, 4), torch.ones(2, 4, dtype=torch.uint8), 0.1, "float images"),
        (torch.rand(3, 4), torch.full((2, 4), math.nan), 0.1, "without NaN"),
        (torch.rand(3, 4), torch.rand(2, 4), 0.0, "must be positive"),
        (torch.rand(3, 4), torch.rand(2, 4), math.inf, "must be positive and finite"),
    ],
)
def test_what_has_no_density_is_refused_in_words(samples, images, deviation, message):
    with pytest.raises(ValueError, match=message):
        parzen_log_likelihood(samples, images, deviation)


def test_a_bandwidth_needs_choices():
    with pytest.raises(ValueError, match="to choose from"):
        select_bandwidth(torch.rand(3, 4), torch.rand(2, 4), [])
