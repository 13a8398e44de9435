"""A new family is one class: a toy adversarial model is trained, resumed, loaded, drawn and judged like the others."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from lensnb import models
from lensnb.compare import compare
from lensnb.data import MapSet, random_symmetry
from lensnb.files import read_checkpoint
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.models import contract, register
from lensnb.models.contract import map_shape
from lensnb.readers import open_maps
from lensnb.stats import suite
from lensnb.train import Checks, Folder, Settings, fit

GRID = MapGrid(16, 5.0)


def kappa(n: int, seed: int) -> torch.Tensor:
    power = GaussianField.from_power(GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)
    field = LognormalField.from_correlation(power.variance, 0.03)
    return field.sample(n, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def toy():
    """The family, registered for the tests of this file only."""

    @register("toy gan")
    class ToyGAN(nn.Module):
        """Relativistic losses with a gradient penalty, both in one, by reversed gradients."""

        channels, given = 1, {}
        validates_with_gradients = True

        def __init__(self, n: int, hidden: int = 4):
            super().__init__()
            self.n, self.config = n, {"n": n, "hidden": hidden}
            layer = functools.partial(nn.Conv2d, kernel_size=3, padding=1, padding_mode="circular")
            self.generator = nn.Sequential(layer(1, hidden), nn.SiLU(), layer(hidden, 1))
            self.critic = nn.Sequential(layer(1, hidden), nn.SiLU(), layer(hidden, 1))

        @classmethod
        def from_config(cls, config):
            return cls(**config)

        def groups(self, lr):
            return [
                {"params": list(self.generator.parameters()), "lr": lr, "betas": (0.0, 0.9)},
                {"params": list(self.critic.parameters()), "lr": 2 * lr, "betas": (0.0, 0.99)},
            ]

        def averaged(self):
            return [name for name, _ in self.named_parameters() if name.startswith("generator")]

        def loss(self, batch, generator=None, given=None):
            models.check_batch(self, batch, given)
            noise = torch.randn(batch[:, None].shape, generator=generator)
            fake = self.generator(noise)
            true = (100 * batch[:, None]).requires_grad_()
            score = self.critic(true).mean((1, 2, 3))
            (slope,) = torch.autograd.grad(score.sum(), true, create_graph=True)
            critic = softplus(self.critic(fake.detach()).mean((1, 2, 3)) - score).mean()
            frozen = [parameter.detach() for parameter in self.critic.parameters()]
            names = [name for name, _ in self.critic.named_parameters()]
            seen = torch.func.functional_call(self.critic, dict(zip(names, frozen)), (fake,))
            return critic + slope.square().mean() + softplus(-seen.mean((1, 2, 3))).mean()

        @torch.no_grad()
        def sample(self, n, generator=None, given=None):
            models.check_draw(self, n, given)
            return (
                self.generator(torch.randn(n, 1, self.n, self.n, generator=generator))[:, 0] / 100
            )

    yield ToyGAN
    del contract._FAMILIES["toy gan"]


def made(family) -> nn.Module:
    torch.manual_seed(0)
    return family(16)


def trained(family, folder=None, augment=random_symmetry) -> tuple[nn.Module, list[dict]]:
    model = made(family)
    settings = Settings(12, batch=8, lr=1e-3, ema=0.8, augment=augment)
    checks = Checks(kappa(10, 2), every=4)
    records = fit(
        model, kappa(20, 1), settings, checks=checks, device="cpu", folder=Folder(folder, 3)
    )
    return model, list(records)


def interrupted_at(call: int):
    """An augmentation that presses Ctrl-C."""
    calls = []

    @functools.wraps(random_symmetry)  # the same one, as far as a resumed training can tell
    def augment(maps, generator):
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return random_symmetry(maps, generator)

    return augment


def test_a_toy_family_is_trained_saved_resumed_loaded_drawn_and_judged(toy, tmp_path):
    model, records = trained(toy)
    assert records[-1]["stopped"] == "finished"
    assert all(
        np.isfinite(record["validation"]) for record in records
    )  # with its gradient penalty

    _, stopped = trained(toy, tmp_path / "run", interrupted_at(8))
    assert stopped[-1]["stopped"] == "interrupted"
    resumed, _ = trained(toy, tmp_path / "run")
    for name, value in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name

    path = tmp_path / "run" / "model.safetensors"
    assert read_checkpoint(path)[1]["family"] == "toy gan"  # a family, not a module
    loaded = models.load(path)
    assert type(loaded) is toy and map_shape(loaded) == (16, 16)

    drawn = open_maps(models.draw(loaded, 40, tmp_path / "maps.npy"), side_deg=5.0, z_source=1.0)
    assert torch.equal(drawn.tensor(), loaded.sample(40, torch.Generator().manual_seed(0)))

    truth, null = (
        MapSet(kappa(40, seed), 5.0, 1.0, 100 * seed + np.arange(40)) for seed in (3, 4)
    )
    statistics = suite(truth.tensor(), 5.0, ["power", "pdf"])
    report = compare(truth, null, {"toy": drawn}, statistics=statistics, rounds=20)
    assert "toy" in report.names and len(report.rows()) > 5


def test_the_optimiser_and_the_average_are_the_familys_own(toy, monkeypatch):
    rates, betas, raw = [], set(), []
    step = torch.optim.Adam.step

    def noted(self, *args, **kwargs):
        rates.append([group["lr"] for group in self.param_groups])
        betas.add(tuple(group["betas"] for group in self.param_groups))
        done = step(self, *args, **kwargs)
        raw.append({name: value.detach().clone() for name, value in model.named_parameters()})
        return done

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    model = made(toy)
    list(fit(model, kappa(20, 1), Settings(12, batch=8, lr=1e-3, ema=0.8), device="cpu"))
    assert len(rates) == 12 and max(rates) == [1e-3, 2e-3]
    assert all(critic == 2 * generator for generator, critic in rates)
    assert betas == {((0.0, 0.9), (0.0, 0.99))}
    last = raw[-1]
    averaged = {n for n, value in model.named_parameters() if not torch.equal(value, last[n])}
    assert averaged == set(model.averaged())  # the critic keeps its last weights


def test_a_model_that_could_not_be_loaded_again_is_not_trained_into_a_folder(tmp_path):
    with pytest.raises(ValueError, match="a Linear cannot be saved, because it has no family"):
        next(fit(nn.Linear(2, 2), kappa(4, 1), 2, folder=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_cell_with_a_family_can_be_run_again(toy):
    def cell():
        @register("again")
        class Again(nn.Module):
            pass

        return Again

    try:
        assert cell() is not cell()
    finally:
        del contract._FAMILIES["again"]


def test_a_name_belongs_to_one_family(toy):
    with pytest.raises(ValueError, match="there is a family 'toy gan' already: ToyGAN"):
        register("toy gan")(nn.Linear)


def test_the_families_of_the_package_are_registered():
    assert {"flow", "diffusion", "gan", "vectors"} <= models.families().keys()
