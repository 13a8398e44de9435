"""Precision, memory format and compilation change how networks compute, not what they learn.

Statistical tests have fixed seeds; their chance of failing with another seed is stated.
"""

import sys

import pytest
import torch
from test_train import HELD_OUT, MAPS, build, kappa, run, weights

from lensnb.maps import GaussianField, MapGrid
from lensnb.models import Diffusion, Flow
from lensnb.train import choose_precision, devices, place
from lensnb.train.devices import autocast, has_bfloat16
from lensnb.transform import KappaTransform

CPU = torch.device("cpu")


def trained(family: str, **options):
    """A model whose networks no longer say zero."""
    model = build(family)
    run(model, steps=20, **options)
    return model


def value_and_gradient(model, context) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    with context:
        loss = model.loss(MAPS[:16], torch.Generator().manual_seed(1))
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


# ---------------------------------------------------------------- precision


def test_the_precision_is_chosen_or_taken(monkeypatch):
    for fast, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(devices, "has_bfloat16", lambda device, fast=fast: fast)
        assert (
            choose_precision("auto", CPU) == choose_precision("auto", CPU, "bfloat16") == expected
        )
        assert (
            choose_precision("auto", CPU, "float32") == "float32"
        )  # a resumed training keeps its own
        assert [choose_precision(name, CPU, "float32") for name in devices.PRECISIONS] == [
            "float32",
            "bfloat16",
        ]
    with pytest.raises(
        ValueError, match="precision must be auto, float32 or bfloat16, found 'float16'"
    ):
        choose_precision("float16", CPU)


def test_hardware_for_bfloat16_is_recognised(monkeypatch):
    for amx, avx, name, there in [
        (True, True, "Intel Xeon", True), (False, True, "Intel Xeon", False), (False, True, "AMD EPYC", True),
        (False, True, None, True), (True, False, "Intel Xeon", True), (False, False, "AMD EPYC", False),
    ]:  # fmt: skip
        found = {"amx_bf16": amx, "avx512_bf16": avx} | ({"cpu_name": name} if name else {})
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda found=found: found, raising=False
        )
        assert has_bfloat16(CPU) is there
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"architecture": "aarch64"}, raising=False
    )
    assert not has_bfloat16(CPU) and not has_bfloat16(torch.device("mps"))


def test_both_ways_to_ask_the_cpu_agree(monkeypatch):
    asked = has_bfloat16(CPU)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    if sys.platform == "linux":
        assert has_bfloat16(CPU) == asked


@pytest.mark.parametrize("family", ["flow", "diffusion"])
def test_bfloat16_gives_the_loss_and_the_gradient_of_float32(family):
    """To the rounding of bfloat16, 2⁻⁹ a number; maps and log-determinants keep theirs."""
    model = trained(family)
    (loss, gradient), (rounded, other) = (
        value_and_gradient(model, autocast(CPU, p)) for p in devices.PRECISIONS
    )
    assert rounded == pytest.approx(loss, rel=5e-3) and rounded != loss
    assert float((other - gradient).norm() / gradient.norm()) < 0.03
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("family", ["flow", "diffusion"])
def test_only_the_steps_are_in_bfloat16(family):
    """The validation of a model that no step has changed (lr = 0) knows no precision; neither does sampling."""
    model = trained(family)
    state, told = weights(model), []
    for precision in devices.PRECISIONS:
        model.load_state_dict(state)
        records = run(model, steps=1, lr=0.0, precision=precision, validation=HELD_OUT)
        told.append(
            (
                records[-1]["validation"],
                model.sample(2, torch.Generator().manual_seed(2)),
                records[-1]["loss"],
            )
        )
    assert told[0][0] == told[1][0] and torch.equal(told[0][1], told[1][1])
    assert told[0][2] != told[1][2]


def test_the_precision_is_in_the_settings(tmp_path):
    from lensnb.files import read_checkpoint

    run(build(), tmp_path, steps=1, precision="bfloat16")
    for name in ("training", "model"):
        settings = read_checkpoint(tmp_path / f"{name}.safetensors")[1]["settings"]
        assert settings["precision"] == "bfloat16"


# ---------------------------------------------------------------- memory format


@pytest.mark.parametrize("family", ["flow", "diffusion"])
def test_channels_last_changes_results_by_rounding_only(family):
    model = trained(family)
    placed = place(build(family), CPU)
    placed.load_state_dict(model.state_dict())
    assert any(p.dim() == 4 and not p.is_contiguous() for p in placed.parameters())
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()
    (loss, gradient), (other, moved) = (
        value_and_gradient(m, autocast(CPU, "float32")) for m in (model, placed)
    )
    assert other == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(moved, gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))


def test_the_fused_optimiser_is_adam_whatever_the_memory_format():
    """It walks through memory, so moments and gradients must lie there like their weights; a plain Adam does not."""
    model, plain = build(), build()
    run(model, steps=8, clip=1e9)
    with pytest.MonkeyPatch.context() as patch:
        adam = torch.optim.Adam
        patch.setattr(
            torch.optim,
            "Adam",
            lambda p, lr, betas, fused: adam(p, lr=lr, betas=betas, foreach=False),
        )
        run(plain, steps=8, clip=1e9)
    for p, q in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------- the same statistics


class Plain(torch.nn.Module):
    """Two convolutions that know nothing of the noise level: quick to train."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(2, 8, 3, padding=1),
            torch.nn.SiLU(),
            torch.nn.Conv2d(8, 1, 3, padding=1),
        )

    def forward(self, x, condition):
        return self.layers(x)


def small(family: str, maps: torch.Tensor):
    torch.manual_seed(0)
    transform = KappaTransform.fit(maps)
    if family == "flow":
        return Flow(16, transform, GaussianField.fit(transform(maps)), steps=2, hidden=8)
    return Diffusion(16, transform, GaussianField.fit(transform(maps)), network=Plain())


def annulus_power(samples: torch.Tensor) -> torch.Tensor:
    """Power of each map in annuli two modes wide, shape ``(maps, annuli)``."""
    grid = MapGrid(16, 5.0)
    power, annulus = (
        torch.fft.rfft2(samples.double()).abs() ** 2,
        (grid.ell / grid.ell_min / 2).long(),
    )
    return torch.stack([power[:, annulus == a].mean(1) for a in range(1, 5)], 1)


def assert_same_statistics(family: str, n: int, **other):
    """Mode variances of samples from two trainings, drawn from the same noise.

    The noise of each ratio, common to both, is a few per cent; without that in common it is what four errors allow, so
    that a change of rounding never fails and a change of the distribution by four errors does (6e-5 a ratio and seed).
    """
    maps, draws = kappa(128, 5), []
    for options in ({}, other):
        model = small(family, maps)
        run(model, maps=maps, steps=40, batch=16, lr=2e-3, **options)
        draws.append(annulus_power(model.sample(n, torch.Generator().manual_seed(6))))
    first, second = draws
    error = (first.var(0) / n + second.var(0) / n).sqrt()
    assert ((first.mean(0) - second.mean(0)).abs() < 4 * error).all()


@pytest.mark.parametrize("family", ["flow", "diffusion"])
def test_bfloat16_gives_the_same_statistics(family):
    assert_same_statistics(family, 200 if family == "flow" else 64, precision="bfloat16")
