"""Write the grid of theory's C_ℓ that comes with lensnb, for the widget ``vary_cosmology``.

    python benchmarks/spectra_grid.py

Ten seconds of one core. Needs pyccl.
"""

import json

from lensnb.data import load_sample
from lensnb.theory import Cosmology
from lensnb.widgets.spectra_grid import FILE, spectra_grid

if __name__ == "__main__":
    FILE.unlink(missing_ok=True)
    sample = load_sample("truth")
    cosmology = Cosmology(**sample.provenance["cone"]["cosmology"])
    FILE.write_text(json.dumps(spectra_grid(sample.z_source, cosmology)) + "\n")
    print(f"{FILE}: {FILE.stat().st_size} bytes")
