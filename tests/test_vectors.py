"""The flow for data vectors: its density against closed forms, and what it learns of known distributions.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import builtins
import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from lensnb import models
from lensnb.files import save_checkpoint
from lensnb.models.vectors import VectorFlow, Whitening
from lensnb.train import Settings, fit

pytest.importorskip("zuko")
DOUBLE = torch.float64
BINS = 4
SCALE = torch.tensor(
    [1e-9, 3.0, 0.2, 50.0], dtype=DOUBLE
)  # spectra, counts and fractions in one vector
CORRELATION = torch.tensor(
    [[0.9 ** abs(i - j) for j in range(BINS)] for i in range(BINS)], dtype=DOUBLE
)
MEAN = 5 * SCALE


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian() -> MultivariateNormal:
    """Strongly correlated bins of very different sizes."""
    return MultivariateNormal(MEAN, CORRELATION * SCALE[:, None] * SCALE)


def vectors(n: int, seed: int) -> torch.Tensor:
    """Draws from :func:`gaussian`, float32, ``(n, bins)``."""
    white = torch.randn(n, BINS, generator=seeded(seed), dtype=DOUBLE)
    return (MEAN + white @ gaussian().scale_tril.T).float()


def model(transform: str = "spline", perturb: float = 0.0) -> VectorFlow:
    torch.manual_seed(0)
    made = VectorFlow(BINS, Whitening.fit(vectors(500, 1)), transform, transforms=2, hidden=16)
    generator = seeded(2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += perturb * torch.randn(parameter.shape, generator=generator)
    return made


# ---------------------------------------------------------------- whitening


def test_whitened_vectors_are_uncorrelated_with_unit_variance():
    v = vectors(300, 3)
    whitening = Whitening.fit(v)
    y = whitening(v)
    torch.testing.assert_close(y.mean(0), torch.zeros(BINS, dtype=DOUBLE), rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.cov(y.T), torch.eye(BINS, dtype=DOUBLE), rtol=0, atol=1e-9)
    torch.testing.assert_close(whitening.inverse(y), v.double(), rtol=1e-10, atol=0)
    jacobian = torch.autograd.functional.jacobian(whitening, v[:1].double())[0, :, 0]
    torch.testing.assert_close(whitening.log_det(), torch.linalg.slogdet(jacobian)[1])


def test_bins_that_sum_to_one_can_be_whitened():
    share = torch.rand(200, 3, generator=seeded(4)).softmax(-1)
    whitening = Whitening.fit(share)
    assert torch.isfinite(whitening.log_det()) and torch.isfinite(whitening(share)).all()
    torch.testing.assert_close(
        whitening.inverse(whitening(share)), share.double(), rtol=1e-6, atol=0
    )


def test_what_cannot_be_whitened_is_refused_in_a_sentence():
    v = vectors(10, 5)
    v[:, 2] = 0.25
    with pytest.raises(
        ValueError, match=r"bins that vary; these are the same in every vector: \[2\]"
    ):
        Whitening.fit(v)
    v[3, 1] = math.nan
    with pytest.raises(
        ValueError, match=r"finite vectors of shape \(maps, bins\), found \(10, 4\)"
    ):
        Whitening.fit(v)


# ---------------------------------------------------------------- density


@pytest.mark.parametrize("transform", ["spline", "affine"])
def test_a_new_model_is_the_gaussian_of_its_vectors(transform):
    made, v = model(transform), vectors(500, 1).double()
    expected = MultivariateNormal(v.mean(0), torch.cov(v.T)).log_prob(v[:50])
    torch.testing.assert_close(made.log_prob(v[:50]), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("transform", ["spline", "affine"])
def test_density_is_zukos_in_the_units_of_the_vectors(transform):
    made, v = model(transform, 0.1), vectors(20, 6)
    y = made.whitening(v)
    expected = made.flow().log_prob(y.float()).double() + made.whitening.log_det()
    torch.testing.assert_close(made.log_prob(v), expected, rtol=0, atol=1e-4)
    assert float((made.log_prob(v) - model(transform).log_prob(v)).detach().abs().max()) > 0.1
    assert made.log_prob(v).dtype == DOUBLE


@pytest.mark.parametrize("transform", ["spline", "affine"])
def test_round_trip_and_log_det(transform):
    made, v = model(transform, 0.1).double(), vectors(3, 7).double()
    z, log_det = made.to_noise(v)
    torch.testing.assert_close(made.to_data(z), v, rtol=1e-9, atol=0)
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda one: made.to_noise(one[None])[0][0], v[i]
        )
        torch.testing.assert_close(
            log_det[i], torch.linalg.slogdet(jacobian)[1], rtol=1e-9, atol=1e-9
        )


def test_loss_is_bits_per_dimension():
    made, v = model(perturb=0.1), vectors(20, 8)
    expected = -float(made.log_prob(v).mean().detach()) / (BINS * math.log(2))
    assert float(made.loss(v, seeded(9)).detach()) == pytest.approx(expected)


# ---------------------------------------------------------------- learning


def test_training_leaves_a_gaussian_a_gaussian():
    """Mean and covariance of 20,000 draws within 5 % of a correlation (4σ of 4,000 training vectors: 6 %; fails by chance
    with probability about 1e-3)."""
    v = vectors(4000, 10)
    made = VectorFlow(BINS, Whitening.fit(v), transforms=2, hidden=16)
    list(fit(made, v, Settings(150, batch=256, lr=2e-3), device="cpu"))
    drawn = made.sample(20_000, seeded(11)).double()
    torch.testing.assert_close(
        (drawn.mean(0) - MEAN) / SCALE, torch.zeros(BINS, dtype=DOUBLE), rtol=0, atol=0.06
    )
    covariance = torch.cov(drawn.T) / SCALE[:, None] / SCALE
    torch.testing.assert_close(covariance, CORRELATION, rtol=0, atol=0.1)


def test_training_learns_a_skewed_density():
    """ln v Gaussian with correlation 0.6, so the density is known: within 0.03 bits a bin of the truth, where the Gaussian
    is 0.2 off; mean, covariance and skewness (1.75, 0.95) of draws. The worst of eight other seeds: 0.014 bits, 2.6 % and
    5.5 % of the variance, 12 % of the skewness; fails by chance with probability about 1e-3."""
    width = torch.tensor([0.5, 0.3], dtype=DOUBLE)
    truth = MultivariateNormal(
        torch.zeros(2, dtype=DOUBLE), torch.outer(width, width) * (0.6 + 0.4 * torch.eye(2))
    )
    draw = lambda n, seed: (
        torch.randn(n, 2, generator=seeded(seed), dtype=DOUBLE) @ truth.scale_tril.T
    ).exp()
    v, unseen = draw(8000, 12).float(), draw(4000, 13)
    torch.manual_seed(0)
    made = VectorFlow(2, Whitening.fit(v), transforms=2, hidden=32)
    exact = (truth.log_prob(unseen.log()) - unseen.log().sum(-1)).mean()
    bits = lambda: float(exact - made.log_prob(unseen).mean().detach()) / (2 * math.log(2))
    before = bits()
    list(fit(made, v, Settings(400, batch=256, lr=3e-3), device="cpu"))
    assert before > 0.1 and abs(bits()) < 0.03
    drawn = made.sample(20_000, seeded(14)).double()
    variance = torch.expm1(truth.covariance_matrix) * torch.outer(
        *2 * [(width.square() / 2).exp()]
    )
    error = variance.diag().sqrt()
    torch.testing.assert_close(
        drawn.mean(0), (width.square() / 2).exp(), rtol=0, atol=0.05 * float(error.max())
    )
    torch.testing.assert_close(
        torch.cov(drawn.T) / torch.outer(error, error),
        variance / torch.outer(error, error),
        rtol=0,
        atol=0.12,
    )
    w = width.square().exp()
    skewness = (((drawn - drawn.mean(0)) / drawn.std(0)) ** 3).mean(0)
    torch.testing.assert_close(skewness, (w + 2) * (w - 1).sqrt(), rtol=0.25, atol=0)


def test_gradients_reach_every_parameter():
    made = model(perturb=0.1)
    made.loss(vectors(50, 15)).backward()
    assert all(torch.isfinite(p.grad).all() and (p.grad != 0).any() for p in made.parameters())


# ---------------------------------------------------------------- the contract


def test_samples_are_decided_by_the_seed_and_not_by_the_batch():
    made = model(perturb=0.1)
    first = made.sample(7, seeded(16))
    assert first.shape == (7, BINS) and first.dtype == torch.float32 and not first.requires_grad
    assert torch.equal(made.sample(7, seeded(16)), first)
    torch.testing.assert_close(made.sample(7, seeded(16), batch=2), first, rtol=1e-5, atol=0)
    assert not torch.equal(made.sample(7, seeded(17)), first)


@pytest.mark.parametrize("transform", ["spline", "affine"])
def test_a_checkpoint_rebuilds_its_model(transform, tmp_path):
    made = model(transform, 0.1)
    loaded = models.load(save_checkpoint(tmp_path / "model.safetensors", made))
    assert type(loaded) is VectorFlow and loaded.config == made.config and not loaded.training
    assert torch.equal(loaded.sample(3, seeded(18)), made.sample(3, seeded(18)))
    assert torch.equal(loaded.log_prob(vectors(3, 19)), made.log_prob(vectors(3, 19)))


def test_autocast_changes_nothing():
    made, v = model(perturb=0.1), vectors(5, 20)
    expected = made.log_prob(v)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.log_prob(v), expected)
        assert torch.equal(made.sample(2, seeded(21)), made.sample(2, seeded(21)))


def test_one_number_is_a_vector_too():
    v = vectors(100, 22)[:, :1]
    made = VectorFlow(1, Whitening.fit(v))
    assert made.sample(3, seeded(23)).shape == (3, 1) and torch.isfinite(made.log_prob(v)).all()


def test_wrong_arguments_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="spline or affine, found 'cubic'"):
        VectorFlow(BINS, transform="cubic")
    with pytest.raises(ValueError, match="for vectors of 4 bins, expected 3"):
        VectorFlow(3, Whitening.fit(vectors(50, 24)))
    with pytest.raises(ValueError, match="made for vectors of 4 bins, found 5"):
        model().loss(torch.zeros(2, 5))


def test_without_zuko_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("zuko"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'lensnb\[vectors\]'"):
        VectorFlow(BINS)
