"""The generators of other libraries, as models that :func:`lensnb.train.fit` can train.

Each has ``loss(batch, generator)`` and ``sample(n, generator)`` for κ-maps, like the models of
lensnb. Each gets the maps that the models of lensnb get: the shifted logarithm of κ, *standardised*,
as all three expect (:class:`~lensnb.transform.KappaTransform`). Settings that a library leaves
open are as follows.

* **normflows**: Glow as in its documentation, with channel splits and a white base, 3 levels of 8
  steps. actnorm is initialised on the first maps. Its density is converted to κ units.
* **denoising-diffusion-pytorch**: ``Unet`` and ``GaussianDiffusion`` with their default settings
  (v-prediction, sigmoid schedule).
* **diffusers**: ``UNet2DModel`` with the channels of its default in proportion (1 : 2 : 3 : 4), and
  attention with one head at the third level only, as in DDPM (at 32² its default costs more). It
  is trained on the noise with ``DDPMScheduler``.

The two diffusion libraries sample with DDPM's ancestral sampler on evenly spaced levels. They
clip the denoised map to the range of the training maps, as they clip pictures to [−1, 1].
:func:`glow`, :func:`lucidrains` and :func:`diffusers` choose the width at which a model has as
many parameters as another. They raise ``ImportError`` if the library is not installed.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lensnb.transform import KappaTransform

LEVELS, STEPS, T = 3, 8, 1000


def size(model: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in model.parameters())


def nearest(build: Callable[[int], nn.Module], widths: range, parameters: int) -> int:
    """The width whose model comes nearest to that many parameters; models grow with their width."""
    above = bisect_left(widths, parameters, key=lambda width: size(build(width)))
    around = widths[max(0, above - 1) : above + 1]
    return min(around, key=lambda width: abs(math.log(size(build(width)) / parameters)))


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """The global random state follows from the generator while the block lasts: these libraries know no other."""
    device = generator.device if generator is not None else None
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


class Other(nn.Module):
    """What the three have in common.

    Args:
        transform: the logarithm of κ, standardised.
        n: pixels a side.
    """

    family = "other"

    def __init__(self, transform: KappaTransform, n: int):
        super().__init__()
        self.transform, self.n = transform, n
        self.config = {"n": n}

    @classmethod
    def from_config(cls, config: dict) -> Other:
        """A training resumes with the model that was built for it; nothing else builds one."""
        raise ValueError(f"a model of {config} is not the one to be trained; use another folder")

    def draw(self, n: int) -> Tensor:
        """Standardised maps ``(n, 1, pixels, pixels)``."""
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None, batch: int = 64) -> Tensor:
        """Draw ``n`` κ-maps, float32, shape ``(n, pixels, pixels)``."""
        with seeded(generator):
            drawn = [self.draw(min(batch, n - start))[:, 0] for start in range(0, n, batch)]
        return self.transform.inverse(torch.cat(drawn)).float()


# ---------------------------------------------------------------- normflows


class Glow(Other):
    """normflows' multi-scale Glow.

    Args:
        hidden: channels of the conditioners.
    """

    def __init__(self, transform: KappaTransform, n: int, hidden: int):
        import normflows as nf

        super().__init__(transform, n)
        bases, flows, merges = [], [], []
        for level in range(LEVELS):  # coarsest first
            channels, pixels = 2 ** (LEVELS + 1 - level), n >> (LEVELS - level)
            steps = [
                nf.flows.GlowBlock(channels, hidden, split_mode="channel", scale=True)
                for _ in range(STEPS)
            ]
            flows.append([*steps, nf.flows.Squeeze()])
            if level > 0:
                merges.append(nf.flows.Merge())
            left = (
                channels if level == 0 else channels // 2
            )  # half of a finer level's channels go on to the next
            bases.append(nf.distributions.DiagGaussian((left, pixels, pixels), trainable=False))
        self.network = nf.MultiscaleFlow(bases, flows, merges, class_cond=False)

    def log_prob(self, kappa: Tensor) -> Tensor:
        """ln p(κ) in nats and κ units, shape ``(batch,)``."""
        return self.network.log_prob(
            self.transform(kappa)[:, None], None
        ) + self.transform.log_det(kappa)

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bits per dimension, a scalar."""
        return -self.log_prob(batch).mean() / (math.log(2) * self.n**2)

    def draw(self, n: int) -> Tensor:
        return self.network.sample(n)[0]


def glow(maps: Tensor, parameters: int, ancestral: int) -> Glow:
    """Glow for κ-maps ``(maps, n, n)`` with about that many parameters; ``ancestral`` says nothing to a flow."""
    transform, n = KappaTransform.fit(maps), maps.shape[-1]
    build = lambda hidden: Glow(transform, n, hidden)
    model = build(nearest(build, range(1, 2049), parameters))
    with torch.no_grad():
        model.log_prob(maps[:64])  # actnorm's own start
    return model


# ---------------------------------------------------------------- denoising-diffusion-pytorch


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Stand in for torchvision while the block lasts where it is missing or does not load; its names are not used."""
    names = ("torchvision", "torchvision.transforms", "torchvision.utils")
    try:
        import torchvision  # noqa: F401

        names = ()
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    for name in names:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)
        if "." in name:
            setattr(sys.modules["torchvision"], name.split(".")[1], sys.modules[name])
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


class Lucidrains(Other):
    """``Unet`` and ``GaussianDiffusion`` of denoising-diffusion-pytorch.

    Args:
        dim: channels of the finest level; the others have 2, 4 and 8 times as many.
        head: channels of an attention head.
        largest: largest absolute value of the standardised training maps.
        ancestral: steps of the sampler.
    """

    def __init__(
        self,
        transform: KappaTransform,
        n: int,
        dim: int,
        head: int,
        largest: float,
        ancestral: int,
    ):
        with _without_torchvision():
            from denoising_diffusion_pytorch import GaussianDiffusion, Unet
            from denoising_diffusion_pytorch import denoising_diffusion_pytorch as module
        module.tqdm = lambda steps, **_: steps  # no progress bars

        class Clipped(GaussianDiffusion):
            """Clips the denoised map to the range of the data, where the library has [−1, 1]."""

            def model_predictions(
                self, x, t, x_self_cond=None, clip_x_start=False, rederive_pred_noise=False
            ):
                start = (
                    super()
                    .model_predictions(x, t, x_self_cond)
                    .pred_x_start.clamp(-largest, largest)
                )
                return module.ModelPrediction(self.predict_noise_from_start(x, t, start), start)

        super().__init__(transform, n)
        network = Unet(dim, channels=1, attn_dim_head=head)
        self.process = Clipped(
            network, image_size=n, timesteps=T, sampling_timesteps=ancestral, ddim_sampling_eta=1.0,
            auto_normalize=False,
        )  # fmt: skip

    @property
    def network(self) -> nn.Module:
        """The U-Net, which is part of the process and would be saved twice as an attribute."""
        return self.process.model

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The library's loss, a scalar."""
        with seeded(generator):
            return self.process(self.transform(batch)[:, None])

    def draw(self, n: int) -> Tensor:
        return self.process.ddim_sample(
            (n, 1, self.n, self.n)
        ).clone()  # with η = 1, which is the ancestral sampler


def lucidrains(maps: Tensor, parameters: int, ancestral: int) -> Lucidrains:
    """The model for κ-maps ``(maps, n, n)`` with about that many parameters: first its width, then its heads' to the point."""
    transform, n = KappaTransform.fit(maps), maps.shape[-1]
    largest = float(transform(maps).abs().max())
    build = lambda dim, head: Lucidrains(transform, n, dim, head, largest, ancestral)
    dim = nearest(lambda dim: build(dim, 32), range(4, 257, 2), parameters)
    return build(dim, nearest(lambda head: build(dim, head), range(4, 129, 2), parameters))


# ---------------------------------------------------------------- diffusers


class Diffusers(Other):
    """``UNet2DModel`` of diffusers, trained and sampled as in DDPM.

    Args:
        width: eight times the channels of the finest level, which are rounded to an even number as all channels are.
        largest: largest absolute value of the standardised training maps.
        ancestral: steps of the sampler.
    """

    def __init__(
        self, transform: KappaTransform, n: int, width: int, largest: float, ancestral: int
    ):
        from diffusers import DDPMScheduler, UNet2DModel

        super().__init__(transform, n)
        plain, attention = "{}Block2D", "Attn{}Block2D"
        blocks = [plain, plain, attention, plain]
        self.network = UNet2DModel(
            sample_size=n, in_channels=1, out_channels=1, norm_num_groups=2, attention_head_dim=None,
            block_out_channels=tuple(2 * max(1, round(times * width / 16)) for times in (1, 2, 3, 4)),
            down_block_types=tuple(block.format("Down") for block in blocks),
            up_block_types=tuple(block.format("Up") for block in reversed(blocks)),
        )  # fmt: skip
        self.scheduler = DDPMScheduler(T, clip_sample=True, clip_sample_range=largest)
        self.scheduler.set_timesteps(ancestral)

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean square error of the noise at random levels, a scalar."""
        y = self.transform(batch)[:, None]
        with seeded(generator):
            noise, t = torch.randn_like(y), torch.randint(T, (len(y),), device=y.device)
        return F.mse_loss(self.network(self.scheduler.add_noise(y, noise, t), t).sample, noise)

    def draw(self, n: int) -> Tensor:
        x = torch.randn(n, 1, self.n, self.n, device=self.transform.mean.device)
        for t in self.scheduler.timesteps:
            x = self.scheduler.step(self.network(x, t).sample, t, x).prev_sample
        return x


def diffusers(maps: Tensor, parameters: int, ancestral: int) -> Diffusers:
    """The model for κ-maps ``(maps, n, n)`` with about that many parameters."""
    transform, n = KappaTransform.fit(maps), maps.shape[-1]
    largest = float(transform(maps).abs().max())
    build = lambda width: Diffusers(transform, n, width, largest, ancestral)
    return build(nearest(build, range(16, 4097), parameters))
