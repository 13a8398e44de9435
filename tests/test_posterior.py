"""What judges a posterior: the exact one passes, and every planted fault is found.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import numpy as np
import pytest
import torch
from test_samplers import GRID, red_field, seeded

from lensnb.compare.coverage import band_ranks, histogram, pixel_ranks, ranks, tarp
from lensnb.compare.posterior import PosteriorSamples, coherence, spread
from lensnb.maps import ConditionalField, GaussianField
from lensnb.stats import ell_edges

MAPS, DRAWS, NOISE = 320, 31, 0.7
SIMULATION = np.arange(MAPS) // 4


def exact_posterior() -> tuple[PosteriorSamples, torch.Tensor]:
    """A Gaussian field and samples given noisy maps; and the mean of the posterior of each."""
    one = red_field().variance
    joint = GaussianField(torch.stack([one, one, one, one + NOISE**2]).reshape(2, 2, *one.shape))
    truth, noisy = joint.sample(MAPS, seeded(1)).double().unbind(1)
    field = ConditionalField(joint, {"noisy": 1}).given({"noisy": noisy})
    white = torch.randn(DRAWS, MAPS, 16, 16, generator=seeded(2), dtype=torch.float64)
    drawn = torch.stack([field.colour(one) for one in white], 1)
    return PosteriorSamples(truth, drawn, GRID.side_deg, SIMULATION), field.centre


def errors_of(variance: torch.Tensor) -> torch.Tensor:
    """Variance of each mode given the noisy map."""
    return variance * NOISE**2 / (variance + NOISE**2)


def of_bands(variance: torch.Tensor, edges: np.ndarray) -> np.ndarray:
    """Mean over the modes in each band of ℓ."""
    means = []
    for low, high in zip(edges, edges[1:]):
        weight = ((GRID.ell >= low) & (GRID.ell < high)) * GRID.multiplicity
        means.append(float((weight * variance).sum() / weight.sum()))
    return np.array(means)


@pytest.fixture(scope="module")
def exact() -> tuple[PosteriorSamples, torch.Tensor]:
    return exact_posterior()


def changed(one: PosteriorSamples, samples: torch.Tensor) -> PosteriorSamples:
    return PosteriorSamples(one.truth, samples, one.side_deg, one.simulation)


def p_values(one: PosteriorSamples) -> dict[str, float]:
    found = {"pixels": histogram(pixel_ranks(one), one.simulation).p}
    for band, values in enumerate(band_ranks(one).T):
        found[f"band {band}"] = histogram(values, one.simulation).p
    found["tarp"] = tarp(one).uniform.p
    return found


# ---------------------------------------------------------------- the exact posterior passes


def test_the_exact_posterior_passes(exact):
    """Five p-values above 0.001, and 13 ratios within 4 errors: fails by chance with 0.7 %."""
    one, _ = exact
    found = p_values(one)
    assert set(found) == {"pixels", "band 0", "band 1", "band 2", "tarp"}
    assert min(found.values()) > 1e-3, found
    of = spread(one)
    for ratio in (of.total, of.by_variance, of.by_scale):
        assert (np.abs(ratio.value - 1) < 4 * ratio.error).all()
    assert of.total.error < 0.02 and (of.by_scale.error < 0.1).all()
    coverage = tarp(one).coverage
    assert (np.abs(coverage.value - np.linspace(0.05, 0.95, 19)) < 4 * coverage.error).all()


def test_coherence_of_the_exact_posterior_is_known(exact):
    """Of samples r = C_mm / C_tt and transfer 1, of the mean both √(C_mm / C_tt), within 4 errors.

    The bands of a red field with known modes: C_mm = λ² / (λ + σ²).
    """
    one, mean = exact
    edges = np.array([0.9, 3.5, 8]) * GRID.ell_min
    variance = red_field().variance
    of_mean = variance**2 / (variance + NOISE**2)
    expected = of_bands(of_mean, edges) / of_bands(variance, edges)
    single = coherence(one.truth, one.samples, one.side_deg, one.simulation, edges)
    assert (np.abs(single.r.value - expected) < 4 * single.r.error).all()
    assert (np.abs(single.transfer.value - 1) < 4 * single.transfer.error).all()
    of_mean = coherence(one.truth, mean, one.side_deg, one.simulation, edges)
    for found in (of_mean.r, of_mean.transfer):
        assert (np.abs(found.value - np.sqrt(expected)) < 4 * found.error).all()


def test_maps_that_are_the_truth_are_coherent(exact):
    one, _ = exact
    found = coherence(one.truth, 2 * one.truth, one.side_deg)
    np.testing.assert_allclose(found.r.value, 1)
    np.testing.assert_allclose(found.transfer.value, 2)


# ---------------------------------------------------------------- planted faults


def test_samples_that_scatter_too_little_are_found(exact):
    one, mean = exact
    narrow = changed(one, mean[:, None] + 0.8 * (one.samples - mean[:, None]))
    found = p_values(narrow)
    assert found["pixels"] < 1e-6 and found["tarp"] < 1e-6
    of = spread(narrow)
    assert float(of.total.value) == pytest.approx(0.64, abs=4 * of.total.error)
    assert float(of.total.value) < 1 - 8 * of.total.error
    pixels = histogram(pixel_ranks(narrow), one.simulation).shares.value
    assert pixels[0] > 1.2 and pixels[-1] > 1.2 and pixels[3:5].max() < 0.95  # a U


def test_a_mean_that_is_biased_is_found(exact):
    """By a tenth of the truth's scatter, in all pixels."""
    one, _ = exact
    biased = changed(one, one.samples + 0.1)
    shares = histogram(pixel_ranks(biased), one.simulation)
    assert shares.p < 1e-6 and shares.shares.value[0] > 1.1 > 0.9 > shares.shares.value[-1]


def test_a_mean_that_follows_the_data_too_little_is_found(exact):
    """Samples around 0.8 of the posterior mean: TARP, the spread and the transfer see it."""
    one, mean = exact
    biased = changed(one, one.samples - 0.2 * mean[:, None])
    assert tarp(biased).uniform.p < 1e-3
    of = spread(biased)
    assert float(of.total.value) < 1 - 4 * of.total.error
    transfer = coherence(one.truth, biased.samples, one.side_deg, one.simulation).transfer
    assert transfer.value[0] < 1 - 4 * transfer.error[0]


def test_errors_with_a_wrong_spectrum_are_found(exact):
    """White errors with the right variance in every pixel: pixels pass, scales do not.

    At each scale the ratio is the white variance over λ σ² / (λ + σ²), within 4 errors.
    """
    one, mean = exact
    scatter = (one.samples - mean[:, None]).std()
    white = torch.randn(one.samples.shape, generator=seeded(3), dtype=torch.float64)
    wrong = changed(one, mean[:, None] + scatter * white)
    found = p_values(wrong)
    assert found["pixels"] > 1e-3 and found["band 0"] < 1e-6
    of = spread(wrong)
    assert abs(float(of.total.value) - 1) < 4 * of.total.error
    expected = float(scatter) ** 2 / of_bands(errors_of(red_field().variance), ell_edges(GRID, 8))
    assert (np.abs(of.by_scale.value - expected) < 4 * of.by_scale.error).all()
    assert (of.by_scale.value - 1)[0] < -8 * of.by_scale.error[0]


def test_variances_that_do_not_follow_the_data_are_found():
    """Half of each map is known four times better than the samples say, the other half worse."""
    truth = torch.randn(200, 8, 8, generator=seeded(4), dtype=torch.float64)
    white = torch.randn(200, 40, 8, 8, generator=seeded(5), dtype=torch.float64)
    claimed = torch.ones(8, 8, dtype=torch.float64)
    claimed[:, :4], claimed[:, 4:] = 0.5, 1.5**0.5 * 1.08
    of = spread(PosteriorSamples(truth, claimed * white, 5.0), parts=2)
    assert float(of.total.value) == pytest.approx(1, abs=0.05)
    assert of.by_variance.value[0] == pytest.approx(0.25, abs=0.05)
    assert of.by_variance.value[1] == pytest.approx(1.75, abs=0.15)


def test_samples_that_ignore_the_data_pass_ranks_and_fail_coherence(exact):
    """Samples of the prior: why coherence is among the numbers."""
    one, _ = exact
    prior = red_field().sample(MAPS * DRAWS, seeded(6)).double()
    ignorant = changed(one, prior.unflatten(0, (MAPS, DRAWS)))
    assert min(p_values(ignorant).values()) > 1e-3
    r = coherence(one.truth, ignorant.samples, one.side_deg, one.simulation).r
    assert (np.abs(r.value) < 4 * r.error).all() and r.error.max() < 0.05


# ---------------------------------------------------------------- ranks and their test


def test_ranks_are_counts_of_smaller_samples():
    truth = torch.tensor([[0.0], [5.0], [-5.0]])
    samples = torch.tensor([-1.0, 1.0, 2.0]).reshape(1, 3, 1).expand(3, 3, 1)
    found = ranks(truth, samples)
    assert ((found * 4).astype(int) == [[1], [3], [0]]).all() and (found < 1).all()


@pytest.mark.parametrize("maps, a_simulation, numbers", [(320, 1, 1), (320, 10, 1), (40, 1, 50)])
def test_p_values_of_uniform_numbers_are_uniform(maps, a_simulation, numbers):
    """The numbers of a simulation are dependent: half of them are equal.

    Of 300 sets 15 have p < 0.05, with a scatter of 3.6: 4σ fails by chance with probability 1e-4.
    """
    rng, simulation = np.random.default_rng(7), np.arange(maps) // a_simulation
    low = 0
    for _ in range(300):
        uniform = rng.random((maps, numbers))
        shared = rng.random(maps)[simulation]
        same = rng.random((maps, numbers)) < 0.5 * (a_simulation * numbers > 1)
        uniform = np.where(same, shared[:, None], uniform)
        low += histogram(uniform, simulation, 6).p < 0.05
    assert abs(low - 15) < 4 * 3.6


def test_an_empty_bin_is_far_from_uniform():
    narrow = np.random.default_rng(8).uniform(0.2, 0.8, 500)
    assert histogram(narrow).p < 1e-20


def test_references_are_of_other_simulations(exact):
    one, _ = exact
    own = PosteriorSamples(one.truth, one.samples, one.side_deg, np.zeros(MAPS))
    with pytest.raises(ValueError, match="maps of at least two simulations for its references"):
        tarp(own)
    given = tarp(one, references=torch.zeros_like(one.truth))
    assert given.uniform.p > 1e-3


BAD = {
    r"the true maps has the shape \(4, 2, 8, 8\)": (
        torch.zeros(4, 2, 8, 8),
        torch.zeros(4, 3, 8, 8),
    ),
    r"the samples have the shape \(3, 3, 8, 8\); expected \(4, draws, 8, 8\)": (
        torch.zeros(4, 8, 8),
        torch.zeros(3, 3, 8, 8),
    ),
    "with at least two draws a map": (torch.zeros(4, 8, 8), torch.zeros(4, 1, 8, 8)),
    "the samples have NaN or infinity": (
        torch.zeros(4, 8, 8),
        torch.full((4, 3, 8, 8), torch.nan),
    ),
}


@pytest.mark.parametrize("words, maps", BAD.items())
def test_what_is_no_posterior_is_refused_in_a_sentence(words, maps):
    with pytest.raises(ValueError, match=words):
        PosteriorSamples(*maps, 5.0)


def test_too_few_simulations_or_samples_are_refused(exact):
    with pytest.raises(ValueError, match="and 10 simulations, found 2000 and 4"):
        histogram(np.random.default_rng(9).random((40, 50)), np.arange(40) // 10)
    with pytest.raises(ValueError, match="needs at least 80 ranks and 10 simulations, found 40"):
        histogram(np.random.default_rng(9).random(40))
    few = PosteriorSamples(torch.zeros(4, 8, 8), torch.zeros(4, 3, 8, 8), 5.0)
    with pytest.raises(ValueError, match="at least 4 samples of each map, found 3"):
        spread(few)
