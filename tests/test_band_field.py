"""Fields whose band powers have the scatter of maps: samples and density agree, exactly."""

import pytest
import torch

from lensnb import models
from lensnb.files import save_checkpoint
from lensnb.maps import BandField, CutOutField, GaussianField, MapGrid, fit_field
from lensnb.models import Flow
from lensnb.transform import KappaTransform

GRID = MapGrid(16, 5.0)
MAPS = 4000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def varying_maps(n: int, seed: int) -> torch.Tensor:
    """Maps of a Gaussian field, each with an amplitude of its own."""
    field = GaussianField.from_power(GRID, lambda ell: (1 + (ell / 300) ** 2) ** -0.8)
    amplitude = (0.1 * torch.randn(n, 1, 1, generator=seeded(seed))).exp()
    return amplitude * field.sample(n, seeded(seed + 1)) / field.variance.mean().sqrt()


@pytest.fixture(scope="module", params=[GaussianField, CutOutField])
def field(request):
    maps = varying_maps(MAPS, 10)
    return BandField.fit(maps, request.param.fit(maps), bands=4)


def test_colour_is_inverted(field):
    white = torch.randn(20, 16, 16, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(field.whiten(field.colour(white)), white)


def test_samples_have_the_band_powers_of_the_maps(field):
    """4,000 maps on both sides: a scatter is known to 1.6 %, so 6 % are nearly four errors."""
    of_maps = field.powers(varying_maps(MAPS, 20))
    drawn = field.powers(field.sample(MAPS, seeded(2)))
    torch.testing.assert_close(drawn.std(0), of_maps.std(0), rtol=0.06, atol=0)
    torch.testing.assert_close(drawn.mean(0), of_maps.mean(0), rtol=0, atol=0.15)
    found, expected = torch.corrcoef(drawn.T), torch.corrcoef(of_maps.T)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.07)
    # the Gaussian field has too little scatter in the band with most modes
    gaussian = field.powers(field.field.sample(MAPS, seeded(3)))
    assert gaussian.std(0)[-1] < 0.8 * of_maps.std(0)[-1]


def test_samples_have_the_density(field):
    """The mean of the ratio of another density to a field's own is 1 over draws of the field.

    The other density is the narrower one, so that no draw has a large weight. Over 4,000 draws
    the means scatter by about 0.01.
    """
    gaussian = field.field
    drawn = field.sample(MAPS, seeded(5))
    ratio = (gaussian.log_prob(drawn) - field.log_prob(drawn)).exp()
    assert ratio.mean() == pytest.approx(1, abs=0.04)
    narrow = BandField(gaussian, torch.zeros(4), 0.6 * torch.eye(4))
    drawn = gaussian.sample(MAPS, seeded(4))
    ratio = (narrow.log_prob(drawn) - gaussian.log_prob(drawn)).exp()
    assert ratio.mean() == pytest.approx(1, abs=0.04)


def test_maps_with_varying_power_are_more_likely(field):
    maps = varying_maps(500, 30)
    assert field.log_prob(maps).mean() > field.field.log_prob(maps).mean() + 0.5


def test_gradients_pass_through_the_density(field):
    x = varying_maps(3, 40).double().requires_grad_()
    assert torch.autograd.gradcheck(field.log_prob, x, fast_mode=True)


def test_a_flow_begins_as_such_a_field(tmp_path):
    maps = varying_maps(MAPS, 10)
    transform = KappaTransform.fit(maps, logarithm=False)
    field = BandField.fit(transform(maps), bands=4)
    flow = Flow(16, transform, field, steps=2, hidden=8)
    expected = field.log_prob(transform(maps[:5])) + transform.log_det(maps[:5])
    torch.testing.assert_close(flow.log_prob(maps[:5]), expected)
    loaded = models.load(save_checkpoint(tmp_path / "model.safetensors", flow))
    assert torch.equal(loaded.sample(3, seeded(6)), flow.sample(3, seeded(6)))
    assert torch.equal(loaded.log_prob(maps[:3]), flow.log_prob(maps[:3]))
    with pytest.raises(ValueError, match="the base of this one has band powers of its own"):
        flow.log_prob_by_scale(maps[:3])


def test_no_band_is_empty():
    field = BandField.fit(varying_maps(100, 80), bands=8)
    assert 4 <= field.bands < 8 and (field.numbers > 0).all()


def test_what_makes_no_sense_is_refused(field):
    with pytest.raises(ValueError, match="with 8 band powers needs 16 maps, found 15"):
        BandField.fit(varying_maps(15, 50))
    two = torch.stack([varying_maps(50, 60), varying_maps(50, 62)], 1)
    with pytest.raises(ValueError, match="has one channel, found 2 channels"):
        BandField.fit(two, fit_field(two))
    with pytest.raises(ValueError, match="must be positive definite"):
        BandField(field.field, torch.zeros(2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="has no closed denoiser"):
        field.denoise(varying_maps(2, 70), 1.0)
