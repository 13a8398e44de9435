"""The invertible layers: their inverses, and their log-determinants against autograd's Jacobian."""

import math

import pytest
import torch

from lensnb.layers import (
    ActNorm,
    AffineCoupling,
    Gain,
    Mixing,
    SplineCoupling,
    inverse_spline,
    spline,
    squeeze,
    step_to_data,
    step_to_noise,
    unsqueeze,
)
from lensnb.maps import CutOutField, GaussianField, MapGrid
from lensnb.nets import CouplingNet

DOUBLE = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perturbed(module: torch.nn.Module, size: float = 0.1) -> torch.nn.Module:
    """The module in float64, every weight moved off its initial value, without gradients."""
    generator = seeded(2)
    for parameter in module.double().requires_grad_(False).parameters():
        parameter += size * torch.randn(parameter.shape, generator=generator, dtype=DOUBLE)
    return module


# ---------------------------------------------------------------- squeeze


def test_squeeze_is_orthonormal_and_puts_the_block_means_first():
    x = torch.randn(2, 3, 8, 6, generator=seeded(3), dtype=DOUBLE)
    y = squeeze(x)
    assert y.shape == (2, 12, 4, 3)
    torch.testing.assert_close(y[:, :3], 2 * torch.nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(y.square().sum((1, 2, 3)), x.square().sum((1, 2, 3)))
    torch.testing.assert_close(unsqueeze(y), x, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(squeeze(unsqueeze(y)), y, rtol=1e-13, atol=1e-13)


def test_squeezed_details_are_differences_along_columns_rows_and_diagonals():
    x = torch.tensor([[1.0, 2.0], [4.0, 8.0]])[None, None]
    assert squeeze(x).flatten().tolist() == [7.5, -2.5, -4.5, 1.5]


# ---------------------------------------------------------------- layers


def layers():
    return {
        "actnorm": ActNorm(4),
        "mixing": Mixing(4),
        "coupling": AffineCoupling(4, lambda inputs, outputs: CouplingNet(inputs, outputs, 6)),
        "spline coupling": SplineCoupling(
            4, lambda inputs, outputs: CouplingNet(inputs, outputs, 6), bins=5, bound=2.0
        ),
    }


def jacobian_log_det(function, x: torch.Tensor) -> torch.Tensor:
    """ln |det| of the Jacobian of a map of one array to another of the same size, by autograd."""
    jacobian = torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())
    return torch.linalg.slogdet(jacobian)[1]


@pytest.mark.parametrize("name", ["actnorm", "mixing", "coupling", "spline coupling"])
def test_a_layer_inverts_and_knows_its_determinant(name):
    layer = perturbed(layers()[name], 0.3)
    x = torch.randn(2, 4, 3, 5, generator=seeded(5), dtype=DOUBLE)
    y, log_det = layer.to_noise(x)
    assert float((y - x).abs().max()) > 0.1
    torch.testing.assert_close(layer.to_data(y), x, rtol=1e-11, atol=1e-11)
    for i in range(2):
        expected = jacobian_log_det(lambda one: layer.to_noise(one[None])[0][0], x[i])
        torch.testing.assert_close(log_det.expand(2)[i], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["actnorm", "mixing"])
def test_a_new_linear_layer_is_the_identity(name):
    x = torch.randn(2, 4, 3, 5, generator=seeded(6))
    y, log_det = layers()[name].to_noise(x)
    torch.testing.assert_close(y, x)
    assert float(log_det.detach()) == 0


@pytest.mark.parametrize("name", ["coupling", "spline coupling"])
def test_a_new_coupling_only_changes_the_halves_over(name):
    x = torch.randn(2, 4, 3, 5, generator=seeded(6))
    y, log_det = layers()[name].to_noise(x)
    torch.testing.assert_close(y, torch.cat([x[:, 2:], x[:, :2]], 1))
    torch.testing.assert_close(log_det, torch.zeros(2, dtype=DOUBLE), rtol=0, atol=1e-5)


def test_the_scale_of_a_coupling_is_bounded():
    def shout(inputs, outputs):
        layer = torch.nn.Conv2d(inputs, outputs, 1)
        torch.nn.init.constant_(layer.bias, 1000.0)
        return layer

    layer = AffineCoupling(4, shout, bound=1.5)
    x = torch.zeros(1, 4, 1, 1)
    _, log_det = layer.to_noise(x)
    assert float(log_det.detach()) == pytest.approx(2 * 1.5)  # of the two channels that move


def test_mixing_is_a_product_of_triangles():
    layer = perturbed(Mixing(3), 0.5)
    (l10, l20, l21), (u01, u02, u12) = (
        layer.lower[[1, 2, 2], [0, 0, 1]],
        layer.upper[[0, 0, 1], [1, 2, 2]],
    )
    d0, d1, d2 = layer.log_diagonal.exp()
    expected = [
        [d0, u01, u02],
        [l10 * d0, l10 * u01 + d1, l10 * u02 + u12],
        [l20 * d0, l20 * u01 + l21 * d1, l20 * u02 + l21 * u12 + d2],
    ]
    torch.testing.assert_close(layer.matrix(), torch.tensor(expected, dtype=DOUBLE))


@pytest.mark.parametrize("name", ["coupling", "spline coupling"])
def test_a_step_is_its_three_layers_one_after_the_other(name):
    norm, mixing, coupling = (
        perturbed(layers()[layer], 0.3) for layer in ("actnorm", "mixing", name)
    )
    x = torch.randn(2, 4, 3, 5, generator=seeded(16), dtype=DOUBLE)
    expected, log_det = x, 0
    for layer in (norm, mixing, coupling):
        expected, change = layer.to_noise(expected)
        log_det = log_det + change
    y, found = step_to_noise(norm, mixing, coupling, x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, log_det, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(step_to_data(norm, mixing, coupling, y), x, rtol=1e-11, atol=1e-11)


# ---------------------------------------------------------------- splines


def splines(size: float, dtype: torch.dtype = DOUBLE, bins: int = 6) -> torch.Tensor:
    """Numbers of random splines, ``(2, 3, 3 bins − 1, 50)``."""
    return size * torch.randn(2, 3, 3 * bins - 1, 50, generator=seeded(17), dtype=dtype)


def test_a_spline_goes_through_its_knots_with_its_slopes():
    """Bins of 1, 1 and 2 of the width and of 2, 1 and 1 of the height, slopes 1, 1.5, 0.75 and 1 (Durkan et al., fig. 1)."""
    widths, heights, slopes = [1.0, 1.0, 2.0], [2.0, 1.0, 1.0], [1.5, 0.75]
    raw = (
        [math.log(w) for w in widths]
        + [math.log(h) for h in heights]
        + [math.log(math.expm1(d)) for d in slopes]
    )
    raw[6:] = [value - math.log(math.e - 1) for value in raw[6:]]
    x = torch.tensor([-4.0 + 1e-9, -2.0, 0.0, 4.0 - 1e-9], dtype=DOUBLE)[None, None]
    numbers = torch.tensor(raw, dtype=DOUBLE)[None, None, :, None].expand(1, 1, 8, 4)
    y, log_slope = spline(x, numbers, 4.0)
    torch.testing.assert_close(
        y[0, 0], torch.tensor([-4.0, 0.0, 2.0, 4.0], dtype=DOUBLE), rtol=0, atol=0.03
    )
    expected = torch.tensor([1.0, 1.5, 0.75, 1.0], dtype=DOUBLE)
    torch.testing.assert_close(
        log_slope[0, 0].exp(), expected, rtol=0.01, atol=0
    )  # bins and slopes have a least size


@pytest.mark.parametrize("size", [0.3, 3.0])
def test_the_slope_of_a_spline_is_autograds(size):
    x = (4 * torch.randn(2, 3, 50, generator=seeded(18), dtype=DOUBLE)).requires_grad_()
    y, log_slope = spline(x, splines(size), 3.0)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope, slope.log(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype, tolerance", [(DOUBLE, 1e-11), (torch.float32, 1e-5)])
def test_a_spline_inverts(dtype, tolerance):
    x = 3 * torch.randn(2, 3, 50, generator=seeded(19), dtype=dtype)
    numbers = splines(0.5, dtype)
    y, _ = spline(x, numbers, 5.0)
    assert float((y - x).abs().max()) > 0.2
    torch.testing.assert_close(inverse_spline(y, numbers, 5.0), x, rtol=0, atol=tolerance)


def test_a_spline_keeps_to_its_interval_and_is_the_identity_outside():
    x = torch.tensor([-1e30, -7.0, -5.0, 5.0, 7.0, 1e30])[None, None]
    numbers = splines(1.0, torch.float32)[:1, :1, :, :6]
    y, log_slope = spline(x, numbers, 5.0)
    assert torch.equal(y, x) and torch.equal(log_slope, torch.zeros_like(x))
    assert torch.equal(inverse_spline(y, numbers, 5.0), x)
    inside = torch.linspace(-5, 5, 50).expand(2, 3, 50)
    assert float(spline(inside, splines(1.0, torch.float32), 5.0)[0].abs().max()) <= 5.0


def test_a_spline_of_wild_numbers_is_finite_and_increasing():
    """Bins of the least width and height, where a quotient of two tiny numbers decides."""
    numbers = (
        splines(30.0, torch.float32)[..., :1].expand(2, 3, -1, 1001).contiguous().requires_grad_()
    )
    x = torch.linspace(-5, 5, 1001).expand(2, 3, 1001)
    y, log_slope = spline(x, numbers, 5.0)
    assert float(y.diff().min().detach()) > -1e-5 and torch.isfinite(log_slope).all()
    assert torch.isfinite(inverse_spline(x, numbers, 5.0)).all()
    (y.sum() + log_slope.sum()).backward()
    assert torch.isfinite(numbers.grad).all()


# ---------------------------------------------------------------- the gain


@pytest.mark.parametrize("n", [7, 8])
def test_the_gain_is_isotropic_inverts_and_knows_its_determinant(n):
    field = GaussianField.white(n)
    gain = perturbed(Gain(field), 0.3)
    check_gain(gain, field)
    delta = torch.zeros(1, n, n, dtype=DOUBLE)
    delta[0, 0, 0] = 1
    response = torch.fft.fft2(gain.to_noise(delta, field)[0]).real
    ell = MapGrid(n, 1.0).ell_min * torch.hypot(
        *torch.meshgrid(*2 * [torch.fft.fftfreq(n, 1 / n)], indexing="ij")
    )
    annulus = (ell / MapGrid(n, 1.0).ell_min).round().long()
    torch.testing.assert_close(response, gain.log_gain.exp()[annulus], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [7, 8])
def test_the_gain_of_a_cut_out_changes_its_modes(n):
    sky = GaussianField.from_power(MapGrid(4 * n, 20.0), lambda ell: 1 / (1 + ell / 300))
    field = CutOutField.of_periodic(sky, n)
    gain = perturbed(Gain(field), 0.3)
    check_gain(gain, field)
    assert torch.equal(gain.modes, Gain(sky.white(n)).modes)  # as many modes in each annulus
    largest = field.eigenvalues.flatten().argmax()
    assert gain.annulus.flatten()[largest] == 0


def check_gain(gain: Gain, field) -> None:
    """Both directions, and the determinant against autograd."""
    x = torch.randn(2, field.n, field.n, generator=seeded(15), dtype=DOUBLE)
    y = gain.to_noise(x, field)
    torch.testing.assert_close(gain.to_data(y, field), x, rtol=1e-11, atol=1e-11)
    expected = jacobian_log_det(lambda one: gain.to_noise(one[None], field)[0], x[0])
    torch.testing.assert_close(gain.log_det(), expected, rtol=1e-10, atol=1e-10)
