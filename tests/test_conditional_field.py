"""The Gaussian field of maps of which another map is known, against explicit matrices."""

import pytest
import scipy.stats
import torch
from test_cut_out import covariance_matrix, seeded

from lensnb.maps import ConditionalField, CutOutField, GaussianField, MapGrid

DOUBLE = torch.float64


def spectra(ell: torch.Tensor, channels: int) -> torch.Tensor:
    """Channels whose correlations differ from each other and from scale to scale."""
    one = 1e-3 / (1 + (ell / 300) ** 2)
    matrix = torch.empty(channels, channels, *ell.shape, dtype=DOUBLE)
    for i in range(channels):
        for j in range(channels):
            shared = 0.9 ** (i + j) * one * torch.exp(-(i + j) * ell / 4000)
            matrix[i, j] = shared
        matrix[i, i] += 2e-4 * (1 + i) + 0.1 * one
    return matrix


def joint_field(kind: str, n: int, channels: int):
    """A field with a mean, periodic or cut out of a larger one."""
    side = n if kind == "periodic" else 3 * n
    grid = MapGrid(side, 5.0 * side / n)
    mean = torch.linspace(0.3, -0.2, channels, dtype=DOUBLE)
    sky = GaussianField(spectra(grid.ell, channels) * 1e4, mean)
    if kind == "periodic":
        return sky
    return CutOutField.of_periodic(sky, n)


def matrix_of(field) -> torch.Tensor:
    """The covariance of all pixels and channels, from the modes of single pixels."""
    if field.kind == "cut-out":
        return covariance_matrix(field)
    size = field.channels * field.n**2
    pixels = torch.eye(size, dtype=DOUBLE).reshape(size, *field.map_shape)
    precision = -field.score(pixels + field.mean_map()).reshape(size, size)
    return torch.linalg.inv(precision)


CASES = [
    ("cut-out", 6, 1, 1),
    ("cut-out", 5, 1, 2),
    ("cut-out", 4, 2, 1),
    ("periodic", 6, 1, 1),
    ("periodic", 5, 2, 1),
]


@pytest.mark.parametrize("kind, n, channels, others", CASES)
def test_it_is_the_normal_distribution_given_the_rest(kind, n, channels, others):
    """Mean and density, from the covariance of all pixels: C_yy − C_yc C_cc⁻¹ C_cy."""
    joint = joint_field(kind, n, channels + others)
    known = {"first": 1}
    if others == 2:
        known["second"] = 1
    scale = torch.tensor([0.5, 2.0], dtype=DOUBLE)[:others]
    field = ConditionalField(joint, known, scale)
    assert (field.n, field.channels, field.kind) == (n, channels, kind)
    drawn = joint.sample(3, seeded(1)).double()
    y, c = drawn[:, :channels], drawn[:, channels:]
    values = {name: c[:, i] * scale[i] for i, name in enumerate(known)}
    found = field.given(values)

    matrix, own = matrix_of(joint), channels * n**2
    gain = torch.linalg.solve(matrix[own:, own:], matrix[own:, :own]).T
    mean = joint.mean_map().flatten()
    expected = mean[:own] + (c.flatten(1) - mean[own:]) @ gain.T
    torch.testing.assert_close(found.centre.flatten(1), expected, rtol=1e-7, atol=1e-9)
    left = matrix[:own, :own] - gain @ matrix[own:, :own]
    densities = [
        scipy.stats.multivariate_normal(one, left).logpdf(map_.flatten())
        for one, map_ in zip(expected, y)
    ]
    of_y = y.reshape(3, *field.rest.map_shape)
    torch.testing.assert_close(
        found.log_prob(of_y), torch.as_tensor(densities), rtol=1e-7, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["cut-out", "periodic"])
def test_of_a_noisy_map_it_is_the_wiener_filter(kind):
    one = joint_field(kind, 8, 2)
    if kind == "periodic":
        signal = GaussianField(one.variance[0, 0], 0.3)
        white = torch.ones_like(signal.variance)
        pairs = [signal.variance, signal.variance, signal.variance, signal.variance + 0.25 * white]
        joint = GaussianField(torch.stack(pairs).reshape(2, 2, *white.shape), 0.3)
    else:
        signal = CutOutField(one.correlation[0, 0], 0.3)
        noise = torch.zeros(8, 8, dtype=DOUBLE)
        noise[0, 0] = 0.25
        xi = signal.correlation
        joint = CutOutField(torch.stack([xi, xi, xi, xi + noise]).reshape(2, 2, 8, 8), 0.3)
    noisy = signal.sample(2, seeded(2)).double() + 0.5 * torch.randn(2, 8, 8, generator=seeded(3))
    found = ConditionalField(joint, {"noisy": 1}).given({"noisy": noisy})
    torch.testing.assert_close(found.centre, signal.denoise(noisy, 0.5), rtol=1e-7, atol=1e-9)
    errors = (1 / signal.eigenvalues + 4) ** -1  # λ σ² / (λ + σ²)
    torch.testing.assert_close(
        found.eigenvalues.flatten().sort().values, errors.flatten().sort().values
    )


@pytest.mark.parametrize("n", [8, 66])
def test_it_is_fitted_to_pairs(n):
    """400 maps with noise in other units, or 20 large ones: y − m is white in the modes of S."""
    grid = MapGrid(n, 5.0)
    sky = GaussianField.from_power(grid, lambda ell: 1e-4 / (1 + (ell / 300) ** 2))
    count = 400 if n == 8 else 20
    y = sky.sample(count + 20, seeded(4))
    noisy = 1e-3 * (y + 0.3 * torch.randn(y.shape, generator=seeded(5)))
    field = ConditionalField.fit(y[:count], {"noisy": noisy[:count].numpy()})
    assert field.kind == ("cut-out" if n == 8 else "periodic")
    white = field.given({"noisy": noisy[count:]}).whiten(y[count:].double())
    # 20 maps of 64 pixels: √(2/1280) = 0.04, and as much from the fit
    assert float(white.square().mean()) == pytest.approx(1, abs=0.2)
    assert float(field.rest.eigenvalues.mean()) < 0.09


def test_a_checkpoint_has_all_that_is_needed():
    field = ConditionalField(joint_field("cut-out", 6, 2), {"noisy": 1}, torch.tensor([0.1]))
    blank = ConditionalField.from_config(field.config, 6, 1)
    blank.load_state_dict(field.state_dict())
    noisy = torch.randn(2, 6, 6, generator=seeded(6))
    one, other = field.given({"noisy": noisy}), blank.given({"noisy": noisy})
    torch.testing.assert_close(one.centre, other.centre)
    white = torch.randn(2, 6, 6, generator=seeded(7))
    torch.testing.assert_close(one.colour(white), other.colour(white))


Y = torch.randn(20, 6, 6, generator=seeded(8))
BAD = {
    "at least one map as a condition": {},
    "the condition c is complex; expected a real map": {"c": torch.zeros(20, 6, 6) + 1j},
    r"the condition c has the shape \(20, 3, 3\); expected": {"c": torch.zeros(20, 3, 3)},
    "the condition c has 19 maps; expected 20": {"c": Y[1:]},
    "the condition c has NaN or infinity": {"c": torch.where(Y > 2, torch.nan, Y)},
    "the condition c has flat maps only": {"c": torch.ones(20, 6, 6)},
}


@pytest.mark.parametrize("words, known", BAD.items())
def test_what_is_no_condition_is_refused_in_a_sentence(words, known):
    with pytest.raises(ValueError, match=words):
        ConditionalField.fit(Y, known)


def test_a_joint_field_without_room_for_the_maps_is_refused():
    with pytest.raises(ValueError, match="a joint field of 2 channels has 2 channels of cond"):
        ConditionalField(GaussianField.white(6, 2), {"c": 2})
