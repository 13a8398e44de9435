"""The networks: shapes, silence at the start, what depends on what, and the attention written out."""

import math

import pytest
import torch

from lensnb.nets import Attention, CouplingNet, Residual, UNet, soft_bound


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perturbed(module: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """The module with every weight moved off its initial value, without gradients."""
    generator = seeded(seed)
    for parameter in module.requires_grad_(False).parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


def test_a_new_coupling_network_says_nothing():
    x = torch.randn(2, 3, 8, 6, generator=seeded(2))
    assert torch.equal(CouplingNet(3, 5, hidden=4)(x), torch.zeros(2, 5, 8, 6))


def test_a_coupling_network_sees_two_pixels_far():
    """3×3 – 1×1 – 3×3: a change reaches a 5 × 5 neighbourhood, and no further without the scatter of the whole map."""
    network = perturbed(CouplingNet(1, 2, hidden=4))
    torch.nn.init.zeros_(network.strength.weight)
    x = torch.randn(1, 1, 11, 11, generator=seeded(10))
    changed = x.clone()
    changed[0, 0, 5, 5] = 1
    reached = (network(changed) != network(x)).any(1)[0].nonzero()
    assert (
        reached.amin(0).tolist() == [3, 3]
        and reached.amax(0).tolist() == [7, 7]
        and len(reached) == 25
    )


def test_a_coupling_network_sees_the_scatter_of_the_whole_map():
    network = perturbed(CouplingNet(1, 2, hidden=4))
    x = torch.randn(1, 1, 11, 11, generator=seeded(10))
    changed = x.clone()
    changed[0, 0, 5, 5] += 3
    assert (network(changed) != network(x)).all()


def test_a_coupling_network_hardly_hears_how_bright_the_brightest_pixel_is():
    """Ten times as bright: ln 10 = 2.3 steps of 3 more, not 900."""
    x = torch.tensor([0.01, -0.1, 100.0, 1000.0, -1000.0])
    found = soft_bound(x)
    torch.testing.assert_close(found[:2], x[:2], rtol=1e-3, atol=0)
    assert (
        float(found[3] - found[2]) == pytest.approx(3 * math.log(10), rel=1e-3)
        and found[4] == -found[3]
    )


@pytest.mark.parametrize(
    "patch, channels, n", [(1, (8,), 5), (2, (8, 16), 12), (2, (8, 16, 32), 24), (4, (8, 16), 16)]
)
def test_a_new_unet_is_silent_and_keeps_the_shape(patch, channels, n):
    network = UNet(2, 3, channels, patch)
    x = torch.randn(2, 2, n, n, generator=seeded(3))
    assert torch.equal(network(x, torch.tensor([0.1, -1.0])), torch.zeros(2, 3, n, n))


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_unet_treats_each_map_by_itself(blocks):
    network = perturbed(UNet(2, 1, (8, 16), blocks=blocks)).double()
    x = torch.randn(3, 2, 16, 16, generator=seeded(4), dtype=torch.float64)
    condition = torch.tensor([-1.0, 0.0, 0.7], dtype=torch.float64)
    together = network(x, condition)
    assert float(together.std()) > 0.01
    for i in range(3):
        torch.testing.assert_close(
            network(x[i : i + 1], condition[i : i + 1]), together[i : i + 1]
        )


def test_a_unet_hears_its_condition_and_all_of_its_input():
    network = perturbed(UNet(2, 1, (8, 16)))
    x = torch.randn(1, 2, 16, 16, generator=seeded(5))
    said = network(x, torch.tensor([0.3]))
    assert not torch.allclose(network(x, torch.tensor([0.4])), said)
    for channel in range(2):
        changed = x.clone()
        changed[0, channel, 0, 0] += (
            1.0  # attention at the coarsest level carries it to every pixel
        )
        assert ((network(changed, torch.tensor([0.3])) - said)[0, 0, 8:, 8:] != 0).all()


def test_a_unet_depends_on_its_numbers():
    network = perturbed(UNet(1, 1, (8,), numbers=2))
    x, condition = torch.randn(1, 1, 8, 8, generator=seeded(11)), torch.tensor([0.3])
    said = [
        network(x, condition, torch.tensor([numbers]))
        for numbers in ([0.5, 1.0], [0.6, 1.0], [0.5, 1.1])
    ]
    assert not torch.equal(said[0], said[1]) and not torch.equal(said[0], said[2])
    with pytest.raises(
        ValueError, match="conditioned on 2 numbers a map, such as band powers; found 0"
    ):
        network(x, condition)


def test_all_noise_levels_are_told_apart():
    """ln σ / 4 for σ from 0.02 to 20, the arguments that a diffusion model passes: embeddings that all differ."""
    network = UNet(1, 1, (8,))
    condition = torch.log(torch.logspace(math.log10(0.02), math.log10(20), 30)) / 4
    angle = condition[:, None] * network.frequencies
    embedding = torch.cat([angle.sin(), angle.cos()], -1)
    distance = torch.cdist(embedding, embedding) + 10 * torch.eye(30)
    assert float(distance.min()) > 0.3  # of vectors of norm 4


def test_a_new_residual_block_is_its_skip():
    x, embedding = (
        torch.randn(2, 8, 5, 5, generator=seeded(6)),
        torch.randn(2, 16, generator=seeded(7)),
    )
    assert torch.equal(Residual(8, 8, 16)(x, embedding), x)
    wider = Residual(8, 12, 16)
    torch.testing.assert_close(wider(x, embedding), wider.skip(x))


def test_attention_is_that_of_its_formula():
    """Softmax of the scaled products of queries and keys, head by head, on the values; around a skip."""
    block = perturbed(Attention(8, heads=2)).double()
    x = torch.randn(1, 8, 3, 4, generator=seeded(8), dtype=torch.float64)
    assert torch.equal(Attention(8)(x.float()), x.float())  # silent at first
    flat = torch.nn.functional.group_norm(x, 1, block.norm.weight, block.norm.bias)[0].flatten(1)
    q, k, v = (block.qkv.weight[:, :, 0, 0] @ flat + block.qkv.bias[:, None]).reshape(3, 2, 4, 12)
    weight = torch.softmax(torch.einsum("hci,hcj->hij", q, k) / math.sqrt(4), -1)
    heads = torch.einsum("hij,hcj->hci", weight, v).reshape(8, 12)
    out = block.out.weight[:, :, 0, 0] @ heads + block.out.bias[:, None]
    torch.testing.assert_close(block(x)[0].flatten(1), x[0].flatten(1) + out)


# ---------------------------------------------------------------- attention and edges


@pytest.mark.parametrize("attention, layers", [(0, 0), (1, 1), (2, 4), (3, 7)])
def test_attention_stands_where_it_was_asked_for(attention, layers):
    """One in the middle, then three a level: one block on the way down, two on the way up."""
    network = UNet(1, 1, (8, 16), attention=attention)
    assert sum(isinstance(module, Attention) for module in network.modules()) == layers
    assert torch.equal(
        network(torch.randn(2, 1, 16, 16), torch.zeros(2)), torch.zeros(2, 1, 16, 16)
    )


@pytest.mark.parametrize(
    "build", [lambda p: CouplingNet(1, 1, 4, p), lambda p: UNet(1, 1, (8,), patch=1, padding=p)]
)
def test_with_circular_padding_a_shifted_map_gives_a_shifted_answer(build):
    x = torch.randn(2, 1, 8, 8, generator=seeded(9), dtype=torch.float64)
    condition = (
        () if isinstance(build("zeros"), CouplingNet) else (torch.zeros(2, dtype=torch.float64),)
    )
    for padding, same in (("circular", True), ("zeros", False), ("reflect", False)):
        network = perturbed(build(padding)).double()
        shifted = network(x.roll((3, 2), (-2, -1)), *condition)
        assert torch.allclose(shifted, network(x, *condition).roll((3, 2), (-2, -1))) == same


@pytest.mark.parametrize(
    "build", [lambda p: CouplingNet(1, 1, 4, p), lambda p: UNet(1, 1, (8, 16), padding=p)]
)
def test_a_padding_that_is_none_is_refused(build):
    with pytest.raises(
        ValueError, match="padding must be one of zeros, reflect, circular, found 'same'"
    ):
        build("same")
