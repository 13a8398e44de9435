"""The Gaussian field of maps of which something is known, such as a noisy map of the same sky.

Let y be a map and c what is known of it, another map on the same pixels. Both together are a
Gaussian field of several channels, with the inverse covariance P. Then (Bishop 2006, *Pattern
Recognition and Machine Learning*, eqs 2.73 and 2.75)

    y | c ~ N(m, S),    S = (P_yy)⁻¹,    m = μ_y − S P_yc (c − μ_c).

S is the same for all maps, so its modes are found once. The mean m differs from map to map. If c
is y with noise, m is the Wiener filter.

The joint field is stationary: all places are alike. Behind a mask less is known, and the noise of
two places may differ. Then m and S are averages over the places, and what belongs to each place is
left to a network, which must be given the mask.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .cut_out import BLOCKS, CutOutField, MirrorModes, Quarters, diagonal_of, fit_field
from .fields import GaussianField, GaussianModes, RescaledField
from .grid import check_fittable, check_shape, wide


class ConditionalField(nn.Module):
    """The Gaussian field of maps y, given other maps c.

    Args:
        joint: the field of y and c together: first the channels of y, then those of the
            conditions, in units of ``scale``.
        known: the conditions that are maps: their channels by name.
        scale: standard deviation of each channel of the conditions.

    Attributes:
        n: pixels a side.
        channels: channels of y.
        kind: that of the joint field, ``"periodic"`` or ``"cut-out"``.
        rest: the field of y − m, with the covariance S.

    Raises:
        ValueError: no condition, or no channel left for y.
    """

    def __init__(
        self, joint: GaussianModes, known: Mapping[str, int], scale: Tensor | None = None
    ):
        super().__init__()
        others = sum(known.values())
        self.known = dict(known)
        self.kind = joint.kind
        self.channels = joint.channels - others
        if not others or self.channels < 1:
            raise ValueError(
                f"a joint field of {joint.channels} channels has {others} channels of conditions; "
                "expected at least one, and at least one of the maps themselves"
            )
        if scale is None:
            scale = torch.ones(others)
        self.joint = joint
        self.register_buffer("scale", scale.double().clone())
        self.rest = _rest(joint, self.channels)
        self.register_load_state_dict_post_hook(_find_rest)

    @classmethod
    def fit(cls, maps: Tensor, known: Mapping[str, Tensor]) -> ConditionalField:
        """Measure the joint field of maps and what is known of them, by :func:`fit_field`.

        Args:
            maps: y, such as transformed κ-maps, ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            known: conditions by name, real maps of the same shape. They should be linear in κ, as
                far as possible. Shear is not one of them, because it has spin 2: take its
                Kaiser–Squires map.

        Raises:
            ValueError: no condition; a condition that is no real map, has another number of maps
                or pixels, or is not finite.
        """
        check_fittable("the set for a conditional field", maps)
        if not known:
            raise ValueError("a conditional field needs at least one map as a condition")
        parts = [_with_channels(wide(maps))]
        channels, scales = {}, []
        for name, values in known.items():
            part = _with_channels(_checked(name, values, maps))
            channels[name] = part.shape[1]
            scale = part.std((0, 2, 3))
            scales.append(scale)
            parts.append(part / scale[:, None, None])
        return cls(fit_field(torch.cat(parts, 1)), channels, torch.cat(scales))

    @classmethod
    def from_config(cls, config: Mapping, n: int, channels: int) -> ConditionalField:
        """A field for a checkpoint to fill."""
        kinds = {field.kind: field for field in (GaussianField, CutOutField)}
        known = config["known"]
        return cls(kinds[config["joint"]].white(n, channels + sum(known.values())), known)

    @property
    def config(self) -> dict:
        """Plain JSON values, from which :meth:`from_config` makes a field of the same shape."""
        return {"joint": self.kind, "known": self.known}

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.joint.n

    def given(self, known: Mapping[str, Tensor]) -> RescaledField:
        """The Gaussian field of maps of which this is known, each with its own mean m.

        Its ``centre`` is m, shape ``(batch, n, n)`` or ``(batch, channels, n, n)``.

        Args:
            known: values by name, ``(batch, n, n)`` or ``(batch, channels, n, n)``; those of other
                conditions are not looked at.
        """
        mean = self.joint.mean_map()
        device = mean.device
        parts = [_with_channels(wide(known[name].to(device))) for name in self.known]
        c = torch.cat(parts, 1) / self.scale[:, None, None]
        y = mean[: self.channels].expand(len(c), -1, -1, -1)
        pull = self.joint.score(torch.cat([y, c], 1))  # −P (0, c − μ_c)
        of_y = pull[:, : self.channels].reshape(-1, *self.rest.map_shape)
        shift = self.rest.eigenvalues * self.rest.modes(of_y, centred=True)
        field = RescaledField(self.rest, torch.ones_like(self.rest.eigenvalues)[None], shift)
        field.centre = field.from_modes(torch.zeros_like(shift))
        return field


class _RestOfCutOut(MirrorModes):
    """The field of y − m on a cut-out. It is not stationary, because c ends at the edges."""

    def __init__(self, joint: CutOutField, channels: int):
        super().__init__()
        self.channels = channels
        self._n = joint.n
        self.register_buffer("mean", _mean_of(joint, channels), persistent=False)
        self._place_for_modes()
        variances = Quarters.of(joint.eigenvalues)
        blocks = {}
        for name in BLOCKS:
            of_block = getattr(variances, name)
            own = of_block[0].numel() * channels  # the first rows are those of y
            rows = getattr(joint, name)[:own]
            inverse = (rows / of_block.flatten()) @ rows.T  # P_yy
            precision, vectors = diagonal_of((inverse + inverse.T) / 2)
            blocks[name] = (1 / precision, vectors)
        self.register_buffer("eigenvalues", self._set_modes(blocks), persistent=False)

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self._n


def _rest(joint: GaussianModes, channels: int) -> GaussianModes:
    """The field of y − m."""
    if joint.kind == "cut-out":
        return _RestOfCutOut(joint, channels)
    inverse = torch.einsum("iakl,akl,jakl->klij", joint.axes, 1 / joint.values, joint.axes)
    variance = torch.linalg.inv(inverse[..., :channels, :channels])
    variance = (variance + variance.mT).permute(2, 3, 0, 1) / 2
    if channels == 1:
        variance = variance[0, 0]
    return GaussianField(variance, _mean_of(joint, channels))


def _find_rest(field: ConditionalField, _keys) -> None:
    """After a checkpoint was loaded: the field of y − m of its joint field."""
    field.rest = _rest(field.joint, field.channels)


def _mean_of(joint: GaussianModes, channels: int) -> Tensor:
    """The mean of y: a number for one channel."""
    mean = joint.mean[:channels].clone()
    if channels == 1:
        return mean[0]
    return mean


def _with_channels(maps: Tensor) -> Tensor:
    """Maps with an axis of channels, also if they have only one."""
    if maps.ndim == 3:
        return maps[:, None]
    return maps


def _checked(name: str, values, maps: Tensor) -> Tensor:
    """The values of a condition, float64."""
    values = torch.as_tensor(np.asarray(values))
    if values.is_complex():
        raise ValueError(
            f"the condition {name} is complex; expected a real map, such as the Kaiser–Squires "
            "map of a shear map"
        )
    check_shape(f"the condition {name}", values.shape, maps.shape[-1])
    if len(values) != len(maps):
        raise ValueError(
            f"the condition {name} has {len(values)} maps; expected {len(maps)}, one for each map"
        )
    check_fittable(f"the condition {name}", values)
    return wide(values).to(maps.device)
