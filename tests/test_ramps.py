"""Colour ramps: matplotlib's colours, and what becomes of values outside the scale."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from lensnb import ramps


@pytest.mark.parametrize("name", ["magma", "cividis", "grey", "RdBu_r", "PuOr_r"])
def test_ramps_are_matplotlibs(name):
    table = ramps.ramp(name)
    theirs = matplotlib.colormaps["gray" if name == "grey" else name](np.arange(256), bytes=True)
    assert table.shape == (256, 4) and table.dtype == np.uint8 and (table[:, 3] == 255).all()
    assert np.abs(table.astype(int) - theirs).max() <= 5


@pytest.mark.parametrize("name", ramps.SEQUENTIAL)
def test_sequential_ramps_rise_in_lightness(name):
    lightness = ramps.ramp(name)[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -0.5).all()


def test_values_beyond_the_scale_have_its_end_colours_and_nan_is_transparent():
    table = ramps.ramp("magma")
    found = ramps._colours_of(np.array([[-1.0, 0.0, 0.5], [1.0, 9.0, np.nan]]), 0, 1)
    assert found.shape == (2, 3, 4)
    assert (found[0, 0] == table[0]).all() and (found[0, 1] == table[0]).all()
    assert (found[1, 0] == table[-1]).all() and (found[1, 1] == table[-1]).all()
    assert (found[0, 2] == table[128]).all() and (found[1, 2] == 0).all()


def test_a_strip_shows_the_maps_side_by_side():
    maps = np.random.default_rng(0).normal(size=(3, 8, 8))
    image = np.asarray(Image.open(io.BytesIO(ramps.strip_png(maps))))
    assert image.shape == (8, 3 * (8 + 2), 4)
    low, high = np.percentile(maps, [1, 99.5])
    assert (image[:, 10:18] == ramps._colours_of(maps[1], low, high)).all()
    assert (image[:, 8:10] == 0).all()


def test_constant_maps_have_a_strip_and_an_unknown_ramp_is_a_sentence():
    assert ramps.strip_png(np.ones((1, 4, 4)))
    with pytest.raises(ValueError, match="the colour ramps are magma, .*; found 'jet'"):
        ramps.ramp("jet")
