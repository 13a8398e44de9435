"""The cheap families, against exact answers: a small flow, a rank-mapped field, and maps from vectors.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from lensnb.data import random_symmetry
from lensnb.layers import Gain, inverse_spline, spline
from lensnb.maps import CutOutField, GaussianField, LognormalField, MapGrid
from lensnb.maps.cut_out import correlation
from lensnb.maps.mapping import gaussian_correlation, hermite_coefficients, rank_mapping
from lensnb.models import TRENF, RankMappedField, Synthesis, VectorFlow
from lensnb.models.scattering_spectra import ScatteringSpectra
from lensnb.models.vectors import Whitening
from lensnb.train import Hardware, Settings, fit
from lensnb.transform import KappaTransform

DOUBLE = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def power(ell):
    """A red spectrum of roughly the size of κ's, in sr."""
    return 1e-8 * (1 + (ell / 300) ** 2) ** -0.8


def two_spectra(ell):
    """Two channels that are correlated differently at small and at large scales."""
    one = power(ell)
    cross = 0.8 * one * torch.exp(-ell / 2000)
    return torch.stack([torch.stack([one, cross]), torch.stack([cross, 1.5 * one])])


def sky(spectrum=power) -> GaussianField:
    """A field four times as wide as the maps of these tests."""
    return GaussianField.from_power(MapGrid(64, 20.0), spectrum)


def field_of(kind: str, n: int = 8) -> GaussianField | CutOutField:
    grid = MapGrid(n, 5.0 * n / 16)
    if kind == "periodic":
        return GaussianField.from_power(grid, power)
    if kind == "two channels":
        return GaussianField.from_power(grid, two_spectra)
    if kind == "two channels, cut out":
        return CutOutField.of_periodic(sky(two_spectra), n)
    return CutOutField.of_periodic(sky(), n)


KINDS = ["periodic", "cut-out", "two channels", "two channels, cut out"]


def lognormal(n: int, seed: int) -> torch.Tensor:
    """Lognormal κ-maps that are cut out of a larger sky, float32, ``(n, 16, 16)``."""
    return LognormalField.cut_out(field_of("cut-out", 16).correlation, 0.03).sample(
        n, seeded(seed)
    )


def edges(maps: torch.Tensor) -> float:
    """Correlation of opposite edges."""
    left = torch.cat([maps[:, :, 0].flatten(), maps[:, 0].flatten()])
    right = torch.cat([maps[:, :, -1].flatten(), maps[:, -1].flatten()])
    return float(torch.corrcoef(torch.stack([left, right]))[0, 1])


# ---------------------------------------------------------------- TRENF


def trenf(kind: str, size: float = 0.2, n: int = 8) -> TRENF:
    """A flow in float64 whose parameters are all moved off zero."""
    field = field_of(kind, n)
    maps = field.sample(50, seeded(1)).double()
    transform = KappaTransform.fit(maps + 20 * maps.square())
    model = TRENF(n, transform, type(field).fit(transform(maps)), layers=3, knots=5).double()
    generator = seeded(2)
    for parameter in model.requires_grad_(False).parameters():
        parameter += size * torch.randn(parameter.shape, generator=generator, dtype=DOUBLE)
    return model


def test_one_spline_for_all_pixels_is_that_of_each():
    x = 4 * torch.randn(3, 2, 5, 5, generator=seeded(1), dtype=DOUBLE)
    numbers = torch.randn(1, 2, 11, 1, 1, generator=seeded(2), dtype=DOUBLE)
    each = numbers.expand(3, 2, 11, 5, 5).contiguous()
    for found, expected in zip(spline(x, numbers, 6.0), spline(x, each, 6.0)):
        assert torch.equal(found, expected)
    assert torch.equal(inverse_spline(x, numbers, 6.0), inverse_spline(x, each, 6.0))


def test_a_smooth_gain_is_straight_between_its_knots():
    gain = Gain(field_of("periodic", 16), knots=4)
    with torch.no_grad():
        gain.log_gain.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    annuli = torch.arange(len(gain.modes), dtype=DOUBLE)
    expected = 3 * torch.log1p(annuli) / torch.log1p(annuli[-1])
    torch.testing.assert_close(gain.per_annulus().detach(), expected)
    assert torch.equal(gain.per_mode().detach(), gain.per_annulus().exp()[gain.annulus])


def test_a_trenf_has_155_parameters():
    assert sum(p.numel() for p in TRENF(64).parameters()) == 155


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_trenf_is_the_gaussian_field(kind):
    model = trenf(kind, size=0.0)
    kappa = field_of(kind).sample(4, seeded(3)).double()
    expected = model.base.log_prob(model.transform(kappa)) + model.transform.log_det(kappa)
    torch.testing.assert_close(model.log_prob(kappa), expected, rtol=1e-10, atol=1e-8)
    drawn = model.transform.inverse(model.base.sample(4, seeded(4)).double())
    torch.testing.assert_close(model.sample(4, seeded(4)).double(), drawn, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_log_det_of_a_trenf_is_that_of_autograds_jacobian(kind):
    """The whole Jacobian ∂z/∂κ, the transform included."""
    model = trenf(kind)
    kappa = field_of(kind).sample(2, seeded(5)).double()
    _, log_det = model.to_noise(kappa)
    for one, found in zip(kappa, log_det):
        jacobian = torch.autograd.functional.jacobian(lambda x: model.to_noise(x[None])[0], one)
        expected = torch.linalg.slogdet(jacobian.reshape(one.numel(), -1))[1]
        assert float(found) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_of_a_trenf(kind):
    model = trenf(kind)
    kappa = field_of(kind).sample(5, seeded(6)).double()
    back = model.to_data(model.to_noise(kappa)[0])
    torch.testing.assert_close(back, kappa, rtol=0, atol=1e-10 * float(kappa.std()))


def test_a_trenf_learns_the_point_transform_of_a_lognormal_field():
    """The density of the field is known. The model starts as the Gaussian fit of plain κ."""
    maps, fresh = lognormal(256, 7), lognormal(256, 8)
    transform = KappaTransform.fit(maps, logarithm=False)
    model = TRENF(16, transform, CutOutField.fit(transform(maps)), layers=2)
    exact = LognormalField.cut_out(field_of("cut-out", 16).correlation, 0.03)
    best = float(exact.loss(fresh))
    with torch.no_grad():
        before = float(model.loss(fresh))
    settings = Settings(150, batch=32, ema=0.0)
    list(fit(model, maps, settings, device=Hardware("cpu", "float32")))
    with torch.no_grad():
        after = float(model.loss(fresh))
    assert before - best > 0.02
    assert (before - after) / (before - best) > 0.8
    drawn = model.sample(2000, seeded(9))
    assert abs(edges(drawn) - edges(lognormal(2000, 10))) < 0.05  # 0.01 of error each


def test_a_trenf_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="at least 1 layer and 2 knots, found 0 and 8"):
        TRENF(16, layers=0)
    with pytest.raises(ValueError, match="the base of a TRENF for 16² pixels has 8²"):
        TRENF(16, base=field_of("periodic"))


# ---------------------------------------------------------------- rank-mapped Gaussian field


def exact_quantiles(shift: float, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The mapping of a lognormal variable of zero mean, κ = shift (exp(σ g − σ²/2) − 1)."""
    scores = torch.linspace(-6, 6, 4001, dtype=DOUBLE)
    return scores, shift * torch.expm1(sigma * scores - sigma**2 / 2)[None]


def test_correlation_of_a_lognormal_mapping_is_the_closed_form():
    shift, sigma = 0.03, 0.5
    scores, quantiles = exact_quantiles(shift, sigma)
    rho = torch.tensor([[1.0, 0.7], [0.3, -0.2]], dtype=DOUBLE)
    xi = shift**2 * torch.expm1(sigma**2 * rho)
    found = gaussian_correlation(xi[None, None], hermite_coefficients(scores, quantiles))
    torch.testing.assert_close(found[0, 0], rho, rtol=0, atol=2e-4)


def test_density_of_a_lognormal_mapping_is_that_of_the_lognormal_field():
    exact = LognormalField.cut_out(field_of("cut-out", 16).correlation, 0.03)
    sigma = math.sqrt(float(exact.gaussian.correlation[0, 0]))
    unit = CutOutField(exact.gaussian.correlation / sigma**2)
    scores, quantiles = exact_quantiles(0.03, sigma)
    model = RankMappedField(unit, scores[-1], quantiles[0])
    maps = exact.sample(4, seeded(11)).double()
    torch.testing.assert_close(model.log_prob(maps), exact.log_prob(maps), rtol=1e-4, atol=0)
    torch.testing.assert_close(model.sample(4, seeded(11)).double(), maps, rtol=0, atol=1e-6)


def test_ranks_are_those_of_the_pixels():
    pixels = torch.randn(4000, 1, 4, 4, generator=seeded(12), dtype=DOUBLE).exp()
    scores, quantiles = rank_mapping(pixels, 65)
    assert float(scores[-1]) == pytest.approx(ndtri(1 - 0.5 / pixels.numel()))
    assert float(quantiles[0, -1]) == pytest.approx(float(pixels.max()))
    assert float(quantiles[0, 0]) == pytest.approx(float(pixels.min()))
    assert float(quantiles[0, 32]) == pytest.approx(float(np.median(pixels)))


@pytest.mark.parametrize("periodic", [False, True])
def test_a_rank_mapped_field_has_the_pixels_and_the_correlations_of_its_maps(periodic):
    """4,000 maps each: five errors of the correlation, from the scatter between blocks of maps."""
    maps = lognormal(4000, 13).double()
    if periodic:
        grid = GaussianField.from_power(MapGrid(16, 5.0), power)
        maps = LognormalField.from_correlation(grid.variance, 0.03).sample(4000, seeded(13))
    model = RankMappedField.fit(maps, periodic)
    drawn = model.sample(4000, seeded(14)).double()
    share = torch.tensor([0.001, 0.1, 0.5, 0.9, 0.99, 0.9999], dtype=DOUBLE)
    found, expected = (torch.quantile(one.double().flatten(), share) for one in (drawn, maps))
    error = torch.tensor([0.02, 0.02, 0.02, 0.03, 0.06, 0.3]) * float(maps.std())
    assert ((found - expected).abs() < error).all()
    blocks = [[measured(part) for part in one.double().split(250)] for one in (drawn, maps)]
    means = [torch.stack(block).mean(0) for block in blocks]
    errors = [torch.stack(block).std(0) / 4 for block in blocks]
    distance = (means[0] - means[1]).abs() / (errors[0].square() + errors[1].square()).sqrt()
    assert float(distance[:4, :4].max()) < 5


def measured(maps: torch.Tensor) -> torch.Tensor:
    return correlation(maps, torch.zeros((), dtype=DOUBLE))


def test_the_gaussian_correlation_gives_back_that_of_the_maps():
    """⟨κ κ′⟩ of two correlated Gaussian pixels, integrated in two dimensions."""
    maps = lognormal(500, 15).double()
    model = RankMappedField.fit(maps)
    wanted = correlation(maps, maps.mean())
    node = torch.linspace(-7, 7, 1401, dtype=DOUBLE)
    weight = torch.exp(-node.square() / 2)
    weight = weight / weight.sum()
    first = model.to_kappa(node)
    first = first - weight @ first
    for lag in [(0, 1), (1, 1), (0, 5), (9, 3)]:
        rho = float(model.gaussian.correlation[lag])
        second = model.to_kappa(rho * node[:, None] + math.sqrt(1 - rho**2) * node)
        found = weight @ (first * (second @ weight))
        assert float(found / wanted[0, 0]) == pytest.approx(
            float(wanted[lag] / wanted[0, 0]), abs=2e-3
        )


def test_two_channels_keep_their_cross_correlation():
    """2,000 maps: an error of 0.01 on a cross-correlation of 0.5; three are allowed."""
    gaussian = CutOutField.of_periodic(sky(two_spectra), 8)
    maps = (12 * gaussian.sample(2000, seeded(16))).exp() - 1
    model = RankMappedField.fit(maps)
    drawn = model.sample(2000, seeded(17))
    found, expected = (torch.corrcoef(one.transpose(0, 1).flatten(1)) for one in (drawn, maps))
    assert float(expected[0, 1]) > 0.3
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)
    g, _ = model.to_gaussian(maps)
    torch.testing.assert_close(model.to_kappa(g).float(), maps, rtol=1e-5, atol=1e-6)


def test_scatter_of_the_mean_is_that_of_the_maps_or_none():
    """2,000 maps: an error of 1.6 % on each scatter; five of the difference are allowed."""
    maps = lognormal(2000, 18)
    model = RankMappedField.fit(maps)
    scatter = float(maps.mean((1, 2)).std())
    found = float(model.sample(2000, seeded(19)).mean((1, 2)).std())
    assert found / scatter == pytest.approx(1, abs=0.11)
    without = model.sample(2000, seeded(19), mean_scatter=False)
    assert float(without.mean((1, 2)).std()) < 0.25 * scatter
    assert float(without.std() / maps.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_variance_of_the_mean_is_the_average_of_the_covariance(kind):
    """Of the map that is one at a pixel, for all pixels: the average of C over pairs of pixels."""
    field = field_of(kind)
    quantiles = torch.linspace(-1, 1, 5).expand(field.channels, -1).squeeze(0)
    model = RankMappedField(field, 1.0, quantiles)
    size = field.channels * 64
    pixels = torch.eye(size, dtype=DOUBLE).reshape(size, *field.map_shape)
    root = field.colour(pixels).reshape(size, size)
    blocks = (root @ root.T).reshape(field.channels, 64, field.channels, 64).mean((1, 3))
    torch.testing.assert_close(model.variance_of_the_mean().flatten(), blocks.diagonal())


def test_pixels_of_few_values_have_a_finite_density():
    """As of maps that were stored in too few bits."""
    maps = (lognormal(50, 20) / 0.01).round() * 0.01
    model = RankMappedField.fit(maps)
    assert torch.isfinite(model.log_prob(maps)).all()
    assert torch.isfinite(model.sample(3, seeded(1))).all()


def test_a_field_of_one_map_says_what_it_could_not_do():
    with pytest.warns(UserWarning, match="of the variance comes from modes without any"):
        model = RankMappedField.fit(lognormal(1, 21))
    total = model.gaussian.eigenvalues.sum()
    assert float(total) == pytest.approx(256, rel=1e-6)  # the variance is still one


def test_a_rank_mapped_field_refuses_what_it_cannot_fit():
    with pytest.raises(ValueError, match="a rank-mapped field has flat maps only"):
        RankMappedField.fit(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="the quantiles of a rank-mapped field must increase"):
        RankMappedField(field_of("cut-out"), 1.0, torch.zeros(3))


# ---------------------------------------------------------------- scattering spectra


def convolved(fields: torch.Tensor, wavelet: torch.Tensor) -> torch.Tensor:
    """Convolution on the mirrored grid, written out with ``fft2``."""
    return torch.fft.ifft2(torch.fft.fft2(fields) * wavelet)


def test_coefficients_are_averages_over_the_mirrored_map():
    """The two finest scales, which have the grid of the map, in real space."""
    x = torch.randn(1, 16, 16, generator=seeded(30), dtype=DOUBLE)
    spectra = ScatteringSpectra(16, scales=2)
    wavelets = [spectra.wavelets_0, spectra.wavelets_1]
    mirrored = torch.cat(
        [torch.cat([x, x.flip(2)], 2), torch.cat([x.flip(1), x.flip((1, 2))], 2)], 1
    )
    waves = [convolved(mirrored, wavelet) for wavelet in wavelets]
    power = [wave.abs().square().mean() for wave in waves]
    amplitude = [wave.abs() for wave in waves]
    found = spectra(x)[0, 10:]
    torch.testing.assert_close(found[0], power[0].log())
    torch.testing.assert_close(found[3], (amplitude[1].mean() / power[1].sqrt()).log())
    third = torch.zeros(4, 4, dtype=DOUBLE)
    fourth = torch.zeros(4, 4, 4, dtype=DOUBLE)
    for a in range(4):
        for c in range(4):
            coarse = convolved(amplitude[0][a], wavelets[1][c])
            third[a, c] = (waves[1][c] * coarse.conj()).mean().real
            for b in range(4):
                other = convolved(amplitude[0][b], wavelets[1][c])
                fourth[a, b, c] = (coarse * other.conj()).mean().real
    third, fourth = third / (power[0] * power[1]).sqrt(), fourth / power[0]
    same = third.diagonal().mean()
    across = torch.stack([third[a, (a + 2) % 4] for a in range(4)]).mean()
    phases = found[7:10]  # after two powers, two sparsities and S3(0, 0)
    torch.testing.assert_close(phases[[0, 2]], torch.stack([same, across]))
    modulations = found[13:]
    assert len(modulations) == 7
    aligned = torch.stack([fourth[a, a, a] for a in range(4)]).mean()
    torch.testing.assert_close(modulations[0], aligned)
    weights = torch.tensor([float((spectra.symmetric_triples[:, k] > 0).sum()) for k in range(7)])
    torch.testing.assert_close(weights.double() @ modulations / 64, fourth.mean())


def test_coefficients_do_not_change_under_the_symmetries_of_the_square():
    x = lognormal(2, 31).double() / 0.01
    spectra = ScatteringSpectra(16)
    expected = spectra(x)
    assert expected.shape == (2, spectra.bins)
    for other in (x.flip(-1), x.flip(-2), x.rot90(1, (-2, -1)), x.mT):
        torch.testing.assert_close(spectra(other), expected, rtol=1e-9, atol=1e-11)


def test_wavelets_share_the_power_of_each_mode():
    spectra = ScatteringSpectra(32, scales=4)
    total = torch.zeros(64, 64, dtype=DOUBLE)
    for j in range(4):
        squares = getattr(spectra, f"wavelets_{j}").square().sum(0)
        m = len(squares)
        place = torch.fft.fftfreq(m, 1 / m).long() % 64
        total[place[:, None], place] += squares
    back = -torch.arange(64) % 64
    total = (total + total[back][:, back])[:32, :32]  # without the Nyquist modes
    k = torch.arange(32.0)
    covered = total[torch.hypot(k[:, None], k) >= 4]  # the centre of the last wavelet
    torch.testing.assert_close(covered, torch.full_like(covered, float(covered[0])))


def test_gradients_of_the_coefficients_are_their_differences():
    x = torch.randn(1, 8, 8, generator=seeded(32), dtype=DOUBLE).requires_grad_()
    spectra = ScatteringSpectra(8, scales=2)
    assert torch.autograd.gradcheck(spectra, x, fast_mode=True)


def test_edges_of_a_map_do_not_meet():
    """A step has a hundred times the fine power of a ramp, which would have it on a torus."""
    ramp = torch.linspace(-1.7, 1.7, 32, dtype=DOUBLE).expand(1, 32, 32)
    spectra = ScatteringSpectra(32)
    with_step = ramp.roll(16, -1)
    fine, torn = spectra(ramp)[0, 10], spectra(with_step)[0, 10]
    assert float((torn - fine).exp()) > 100


def test_scales_longer_than_the_map_are_refused():
    with pytest.raises(ValueError, match="maps of 16² pixels have 1 to 4 scales, found 5"):
        ScatteringSpectra(16, scales=5)


# ---------------------------------------------------------------- maps from vectors


@pytest.fixture(scope="module")
def synthesis() -> Synthesis:
    """Untrained, so its vectors are Gaussian."""
    pytest.importorskip("zuko")
    maps = lognormal(400, 40)
    transform = KappaTransform.fit(maps)
    field = CutOutField.fit(transform(maps))
    blank = Synthesis(16, transform, field, scales=3)
    whitening = Whitening.fit(blank.coefficients(maps))
    vectors = VectorFlow(blank.bins, whitening, hidden=8, transforms=1)
    return Synthesis(16, transform, field, vectors, scales=3, steps=60)


def test_each_map_follows_a_target_of_its_own(synthesis):
    """A draw of the Gaussian field knows nothing of a target. 12 maps; no chance is left."""
    true = lognormal(12, 41)
    targets = synthesis.coefficients(true)
    maps = synthesis.synthesise(targets, seeded(42))
    start = synthesis.transform.inverse(synthesis.field.sample(12, seeded(43)))
    before = synthesis.distance(start, targets)
    after = synthesis.distance(maps, targets)
    assert float((before / after).min()) > 100
    bands = synthesis.annuli.shape[1]
    found, wanted = synthesis.coefficients(maps)[:, :bands], targets[:, :bands]
    for one, other in zip(found.T, wanted.T):
        assert float(torch.corrcoef(torch.stack([one, other]))[0, 1]) > 0.97
    nearest = (maps.flatten(1) - true.flatten(1)).norm(dim=1) / true.flatten(1).norm(dim=1)
    assert float(nearest.min()) > 0.5  # the same coefficients, but no copies


def test_without_steps_maps_are_those_of_the_gaussian_field(synthesis):
    still = Synthesis(
        16, synthesis.transform, synthesis.field, synthesis.vectors, scales=3, steps=0
    )
    maps = still.sample(400, seeded(44))
    x = still.transform(maps.double())
    assert float(still.field.whiten(x).std()) == pytest.approx(1, abs=0.01)  # 256 × 400 numbers


@torch.no_grad()
def test_drawn_maps_have_the_drawn_vectors(synthesis):
    from lensnb.samplers import MapNoise

    maps = synthesis.sample(3, seeded(45))
    latents = MapNoise(3, seeded(45))((synthesis.bins,), torch.zeros((), dtype=DOUBLE))
    targets = synthesis.vectors.to_data(latents)
    assert float(synthesis.distance(maps, targets).max()) < 0.2
    other = synthesis.distance(maps.roll(1, 0), targets)
    assert float(other.min()) > 0.5


def test_loss_is_that_of_the_vectors(synthesis):
    maps = lognormal(8, 46)
    expected = synthesis.vectors.loss(synthesis.coefficients(maps))
    assert torch.equal(synthesis.loss(maps), expected)


def test_a_synthesis_is_trained_on_maps(synthesis):
    maps = lognormal(64, 47)
    model = deepcopy(synthesis)
    with torch.no_grad():
        before = float(model.loss(maps))
    settings = Settings(20, batch=32, ema=0.0, augment=random_symmetry)
    list(fit(model, maps, settings, device=Hardware("cpu", "float32")))
    with torch.no_grad():
        assert float(model.loss(maps)) < before


def test_a_synthesis_refuses_what_does_not_fit(synthesis):
    with pytest.raises(ValueError, match=r"the shape \(2, 5\); expected \(maps, "):
        synthesis.synthesise(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="the targets have NaN or infinity"):
        synthesis.synthesise(torch.full((1, synthesis.bins), torch.nan))
    with pytest.raises(ValueError, match="is for vectors of 3 bins"):
        Synthesis(16, vectors=VectorFlow(3), scales=3)
    with pytest.raises(ValueError, match="maps of one channel, found 2"):
        Synthesis(16, field=GaussianField.white(16, 2))
