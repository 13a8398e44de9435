"""The page on the sample: its calculations, and whether the stored page is the one that is made."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lensnb import theory
from lensnb.maps import GaussianField, MapGrid
from lensnb.sims.sample import sample_cone

pytest.importorskip("pyccl")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def physics():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from benchmarks import sample_physics
    yield sample_physics
    theory.ccl_cosmology.cache_clear()


def test_a_wide_box_has_nearly_all_modes(physics):
    """Eight times the box lacks only what is longer than 1.7 Gpc/h."""
    cone = sample_cone()
    wide = replace(cone, box_size=8 * cone.box_size, n_planes=2)
    assert 0.98 < physics.share_of_the_box(wide, 5.0, 1.0) < 1.0
    assert 0.7 < physics.share_of_the_box(cone, 5.0, 1.0) < 0.8


def test_the_variance_of_the_mean_is_found_with_its_error(physics):
    """White maps with a known power. 4,000 means know their variance to 2.2 %: 4 errors."""
    grid = MapGrid(16, 5.0)
    maps = GaussianField.white(grid.n).sample(4000, torch.Generator().manual_seed(0))
    boxes = np.arange(4000) // 32
    power = np.full(grid.ell.shape, grid.area / grid.n**2)
    ratio, error = physics.mean_variance_over_theory(maps, boxes, grid, power)
    assert 0.015 < error < 0.03
    assert abs(ratio - 1) < 4 * error


def test_ranges_of_boxes(physics):
    from benchmarks.sample_page import ranges

    assert ranges([4, 5, 6, 100, 101]) == "4–6 and 100–101"


def test_the_stored_page_is_made_by_the_command(physics):
    """Texts are equal; numbers may differ by 1 % from one machine to another."""
    number = re.compile(r"\d+\.\d+")
    stored = (ROOT / "docs/sample.md").read_text(encoding="utf-8")
    made = physics.page()
    assert number.sub("#", made) == number.sub("#", stored)
    values = [np.array(number.findall(text), float) for text in (made, stored)]
    np.testing.assert_allclose(*values, rtol=0.02)
