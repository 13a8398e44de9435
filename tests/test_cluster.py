"""Boxes and statistics on Dask, with a worker that is a process of its own and a scheduler that shuts strangers out."""

import numpy as np
import pytest

from lensnb.data import MapSet
from lensnb.ensemble import measure
from lensnb.sims import LightCone, simulate_boxes
from lensnb.sims.boxes import plane_file
from lensnb.stats import suite

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.filterwarnings("default"),
]  # what Dask warns of is not ours


@pytest.fixture(scope="module")
def executor():
    from distributed.security import Security

    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address=None,
            security=Security.temporary(),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.scheduler.address.startswith("tls://")
        yield client.get_executor()


def test_statistics_are_the_same(executor):
    maps = MapSet(np.random.default_rng(0).normal(0, 0.02, (30, 16, 16)).astype(np.float32), 5.0)
    statistics = suite(maps.tensor(), 5.0)
    expected, found = measure(statistics, maps), measure(statistics, maps, executor=executor)
    for name in statistics:
        np.testing.assert_allclose(
            found[name].vectors, expected[name].vectors, rtol=1e-6, err_msg=name
        )


def test_boxes_are_whole(executor, tmp_path):
    pytest.importorskip("pmpp", reason="the extra sims is not installed")
    cone = LightCone(n_planes=2, n_particles=16, plane_size=32, max_step=0.3)
    files = simulate_boxes(range(2), tmp_path, cone, executor=executor)
    assert files == [plane_file(tmp_path, box) for box in range(2)]
    first, second = map(np.load, files)
    assert first.shape == second.shape and first.shape[-1] == 32 and np.isfinite(first).all()
    assert first.std() > 0 and not np.array_equal(first, second)
