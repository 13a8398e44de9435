"""An import only goes down: each module has a floor, and imports from lensnb only what lies below it.

The imports are read from the source, those inside functions and under ``TYPE_CHECKING`` too.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lensnb

PACKAGE = Path(__file__).parent.parent / "lensnb"

FLOORS = [
    {"renamed"},
    {"files", "maps", "nets", "ramps", "theory", "versions"},
    # half a floor up: these rest on maps or files, and data, train and models rest on them
    {"transform", "samplers", "layers", "given"},
    {"store"},
    {"data", "shear", "stats", "train"},
    {"models"},
    {"readers", "sims", "ensemble"},
    {"compare"},
    {"plot"},
    {"pages"},
    {"runs"},  # runs writes down what compare found, and its page
    {"widgets", "doctor", "commands"},
    {"__main__"},
]

# These may take less than all that is below: theory is for simulations, networks are for models.
NARROWER = {
    "data": {"files", "given", "maps", "ramps", "renamed", "store", "transform"},
    "given": {"maps"},
    "layers": {"maps"},
    "models": {
        "files",
        "given",
        "layers",
        "maps",
        "nets",
        "renamed",
        "samplers",
        "stats",
        "transform",
        "store",
    },  # fmt: skip
    "samplers": {"maps"},
    "shear": {"maps"},
    "stats": {"files", "maps", "renamed", "transform"},
    "store": {"files", "given", "maps", "renamed"},
    "train": {"files", "given", "maps", "renamed", "store", "transform"},
    "transform": {"maps"},
}

# In models/ the families do not know each other; they share these files.
SHARED = {
    "contract", "band_powers", "denoiser", "haar_bands", "dcgan", "discriminator", "field_gan",
    "latents", "scattering_spectra", "map_numbers", "few_calls", "averages", "levels",
    "local_gaussian", "local_nets", "tiles", "white_details", "drawing", "crops", "chosen_levels",
}  # fmt: skip

# Only this module may import these, wherever in it.
OWNERS = {
    "matplotlib": "plot",
    "mpl_toolkits": "plot",
    "ipywidgets": "widgets",
    "anywidget": "widgets",
}

# Heavy or optional: only inside the function that needs them (or for the type checker).
DEFERRED = {
    "pmpp", "jax", "zuko", "pyccl", "healpy", "h5py", "astropy", "zarr", "dask", "papermill", "nbformat", "IPython",
    "sacc",
}  # fmt: skip


def allowed(room: str) -> set[str]:
    """The rooms that `room` may import from; `__init__` may take none."""
    if room in NARROWER:
        return NARROWER[room]
    floor = next((i for i, rooms in enumerate(FLOORS) if room in rooms), 0)
    return set().union(*FLOORS[:floor])


def imports(
    tree: ast.AST, package: list[str], deferred: bool = False
) -> Iterator[tuple[int, str, bool]]:
    """(line, dotted name, whether it is deferred) of each import; `from a import b` gives `a.b`.

    Deferred: inside a function, or under ``if TYPE_CHECKING``. `package` resolves the relative ones.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *(node.module.split(".") if node.module else [])]
            yield from (
                (node.lineno, ".".join([*base, alias.name]), deferred) for alias in node.names
            )
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            typing = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            yield from imports(node, package, deferred or inside or typing)


def violations(root: Path) -> list[str]:
    """One sentence for each import below the package folder `root` that breaks a rule."""
    found = []
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        room = place.parts[0].removesuffix(".py")  # models/flow.py lives in `models`
        if room not in {"__init__"}.union(*FLOORS):
            found.append(f"{place} has no floor: give it one in tests/test_imports.py")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for line, target, deferred in imports(tree, ["lensnb", *place.parts[:-1]]):
            top, *rest = target.split(".")
            inner = rest[0] if rest else ""
            if top == "lensnb" and inner in {"__init__"}.union(*FLOORS):
                # A folder's __init__ may gather its own files, and recipes may gather the families.
                gathers = place.name in ("__init__.py", "recipes.py")
                own = inner == room and (gathers or room != "models")
                own |= inner == room == "models" and rest[1:2] != [] and rest[1] in SHARED
                if inner not in allowed(room) and not own:
                    found.append(f"{place}:{line} imports lensnb.{inner}, which is not below it")
            elif top == "lensnb" and (not inner or inner == "*"):
                found.append(f"{place}:{line} imports the whole of lensnb: name the module")
            elif OWNERS.get(top, room) != room:
                found.append(f"{place}:{line} imports {top}, which only {OWNERS[top]} may")
            elif top in DEFERRED and not deferred:
                found.append(f"{place}:{line} imports {top} outside the function that needs it")
    return found


def test_imports_only_go_down():
    assert violations(PACKAGE) == []


GOOD = {
    "__init__.py": '__version__ = "0"',
    "maps.py": "import math\nimport torch",
    "nets.py": "from torch import nn",
    "theory.py": "def c_ell():\n    import pyccl",
    "transform.py": "from .maps import MapGrid",
    "data.py": "from . import __version__\nfrom .maps import MapGrid",
    "sims.py": "from typing import TYPE_CHECKING\nfrom .data import MapSet\nfrom . import theory\n"
    "if TYPE_CHECKING:\n    import jax",
    "stats/__init__.py": "from .peaks import count",
    "stats/peaks.py": "from ..maps import MapGrid\nfrom . import minima",
    "stats/minima.py": "",
    "models/__init__.py": "from . import flow",
    "models/flow.py": "from ..maps import GaussianField\nfrom lensnb.nets import UNet",
    "plot.py": "import matplotlib.pyplot as plt\nfrom .compare import report",
    "widgets.py": "import anywidget\nfrom lensnb import plot",
    "__main__.py": "def main():\n    from . import plot, runs",
}

BAD = {
    "at the top": ("maps.py", "from .data import MapSet", "maps.py:1 imports lensnb.data"),
    "absolute": ("stats.py", "import lensnb.ensemble", "stats.py:1 imports lensnb.ensemble"),
    "by name": ("ensemble.py", "from lensnb import plot", "ensemble.py:1 imports lensnb.plot"),
    "second name": (
        "ensemble.py",
        "from . import stats, compare",
        "ensemble.py:1 imports lensnb.compare",
    ),
    "in a function": (
        "sims.py",
        "def f():\n    from . import runs",
        "sims.py:2 imports lensnb.runs",
    ),
    "in a method": (
        "nets.py",
        "class A:\n  def f(s):\n    from .maps import x",
        "nets.py:3 imports lensnb.maps",
    ),
    "for typing": (
        "data.py",
        "if TYPE_CHECKING:\n    from .readers import x",
        "data.py:2 imports lensnb.readers",
    ),
    "in a try": (
        "plot.py",
        "try:\n    from . import widgets\nexcept ImportError: pass",
        "plot.py:2 imports",
    ),
    "from a folder": (
        "models/gan.py",
        "from ..train import fit",
        "models/gan.py:1 imports lensnb.train",
    ),
    "between families": (
        "models/gan.py",
        "from .flow import Flow",
        "models/gan.py:1 imports lensnb.models",
    ),
    "same floor": ("stats.py", "from .data import MapSet", "stats.py:1 imports lensnb.data"),
    "below but not for it": (
        "train.py",
        "from .nets import UNet",
        "train.py:1 imports lensnb.nets",
    ),
    "package takes none": (
        "__init__.py",
        "from . import maps",
        "__init__.py:1 imports lensnb.maps",
    ),
    "the whole": ("runs.py", "import lensnb", "runs.py:1 imports the whole of lensnb"),
    "no floor": ("utils.py", "", "utils.py has no floor"),
    "matplotlib elsewhere": (
        "stats.py",
        "def f():\n    from matplotlib import cm",
        "stats.py:2 imports matplotlib",
    ),
    "ipywidgets elsewhere": ("plot.py", "import ipywidgets", "plot.py:1 imports ipywidgets"),
    "heavy at the top": ("sims.py", "import pmpp.nbody", "sims.py:1 imports pmpp outside"),
    "heavy in a class": (
        "readers.py",
        "class A:\n    import astropy.io",
        "readers.py:2 imports astropy outside",
    ),
}


def write(root: Path, files: dict[str, str]) -> Path:
    for place, source in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(source, encoding="utf-8")
    return root


def test_the_checker_passes_a_tree_that_keeps_the_rules(tmp_path):
    assert violations(write(tmp_path, GOOD)) == []


@pytest.mark.parametrize(("place", "source", "sentence"), BAD.values(), ids=BAD.keys())
def test_the_checker_finds(place, source, sentence, tmp_path):
    (found,) = violations(write(tmp_path, {place: source}))
    assert found.startswith(sentence)


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_import_lensnb_loads_nothing_heavy():
    """Nor does the command line, and runs bring only NumPy: each run starts three processes."""
    heavy = sorted(DEFERRED | set(OWNERS) | {"torch", "scipy", "pandas", "numpy"})
    run(
        f"import sys, lensnb.__main__\n"
        f"loaded = lambda: [name for name in {heavy} if name in sys.modules]\n"
        f"assert not loaded(), loaded()\n"
        f"import lensnb.runs\n"
        f"assert loaded() == ['numpy'], loaded()"
    )


def test_import_of_the_readers_loads_no_file_library():
    heavy = ["astropy", "h5py", "healpy", "zarr", "matplotlib"]
    run(
        f"import sys, lensnb.readers\nassert not (loaded := [m for m in {heavy} if m in sys.modules]), loaded"
    )


STATE = """
import importlib, os, pkgutil, random, warnings
import matplotlib, numpy, torch

def state():
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch seed": torch.get_rng_state().tolist(),
        "numpy seed": str(numpy.random.get_state()),
        "python seed": random.getstate(),
        "numpy errors": numpy.geterr(),
        "printing": str((numpy.get_printoptions(), torch._tensor_str.PRINT_OPTS)),
        "style": dict(matplotlib.rcParams),
        "backend": matplotlib.rcParams._get("backend"),
        "environment": dict(os.environ),
    }

def changed():
    now = state()
    return [key for key in before if before[key] != now[key]]

before = state()
import lensnb
assert not changed(), changed()
assert lensnb.maps.MapGrid(8, 5.0).n == 8  # a module is imported when it is first used
for name in dir(lensnb):
    getattr(lensnb, name)
for module in pkgutil.walk_packages(lensnb.__path__, "lensnb."):
    importlib.import_module(module.name)
assert not changed(), changed()
"""


def test_import_changes_nothing():
    """No style, seed, default dtype or thread count; not from any module either."""
    run(STATE)


def test_every_module_is_there_without_an_import_of_its_own():
    """``lensnb.<TAB>`` shows the modules; that using one imports it is tested above."""
    rooms = {path.stem for path in PACKAGE.glob("*.py")}
    rooms |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(dir(lensnb)) == rooms - {"__init__", "__main__", "renamed"} | {"__version__"}
    with pytest.raises(AttributeError, match="no attribute"):
        lensnb.nowhere  # noqa: B018


def test_no_name_is_both_a_module_and_something_else():
    """``stats.bispectrum`` cannot be a file and a function: which one a reader gets would depend on imports."""
    found = []
    for init in sorted(PACKAGE.rglob("__init__.py")):
        modules = {path.stem for path in init.parent.glob("*.py")}
        modules |= {path.parent.name for path in init.parent.glob("*/__init__.py")}
        tree = ast.parse(init.read_text(encoding="utf-8"))
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imported = [node for node in imported if node.module]  # not the modules themselves
        names = {alias.asname or alias.name for node in imported for alias in node.names}
        found += [f"{init.relative_to(PACKAGE).parent}.{name}" for name in names & modules]
    assert found == []
