# Every target sets up .venv by itself when it is missing or older than pyproject.toml or constraints.txt.
# Plain pip, because it follows the machine's pip configuration (an index of CPU wheels, a mirror); uv does not.

BASE_PYTHON ?= python3
PYTHON := .venv/bin/python
# `sims` is in by default: JAX is 90 MB to download (0.4 of the 2.2 GB on disk), and without it the physics
# tests would be skipped. To do without: make run EXTRAS=lab,formats
EXTRAS ?= lab,formats,sims,vectors,sweep,test
# More arguments for the command behind a target: make run ARGS='-p seed 7', make test ARGS="-m 'not slow'"
ARGS ?=

# The cores that this process may use. nproc would obey OMP_NUM_THREADS too, which is 1 on many clusters.
CORES := $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
# Test workers: one a core, and four at most, since each one may hold torch, JAX and a kernel in memory.
JOBS ?= $(shell [ $(CORES) -lt 4 ] && echo $(CORES) || echo 4)

comma := ,
STAMP := .venv/installed-$(subst $(comma),-,$(EXTRAS))

.DEFAULT_GOAL := help
.PHONY: help run test test-all lab app docs links format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(STAMP) ## the main job: train both generators, compare them with truth, report in runs/quickstart/
	@$(PYTHON) -m lensnb run notebooks/00_quickstart.ipynb --name quickstart $(ARGS)

# One pytest, so that one summary closes the output. Workers begin with the longest tests and take work from each
# other (tests/conftest.py); each keeps to one thread, since the workers fill the cores.
define CHECK
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) --dist worksteal
endef

test: $(STAMP) ## lint and tests, with every notebook run once on small sets; under ten minutes on two cores
	$(CHECK) tests $(ARGS)

test-all: $(STAMP) ## the same and what takes longer: calibration, benchmarks, stored notebooks run again
	$(CHECK) --nightly tests $(ARGS)

lab: $(STAMP) ## JupyterLab on notebooks/, on this machine only and with its token
	$(PYTHON) -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks \
		$(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

app: $(STAMP) ## quiz, explorer and comparison as pages without code, on this machine only and with a token
	@$(PYTHON) -m lensnb app $(ARGS)

# A warning fails, such as a link to a page or a name that is not there.
SPHINX := $(PYTHON) -m sphinx --quiet --fail-on-warning -c docs

docs: $(STAMP)-docs ## the book, from the stored notebooks, the pages in docs/ and the docstrings
	$(SPHINX) $(ARGS) . docs/_build/html
	@echo "open docs/_build/html/index.html"

links: $(STAMP)-docs ## follow every link of the book that leads out of it; needs the web
	$(SPHINX) -b linkcheck $(ARGS) . docs/_build/links

# The hooks fail when they change something; the second round tells whether anything is left to do by hand.
format: $(STAMP) ## put code and notebooks that git knows into their stored form (ruff, nbstripout)
	@export PATH="$(CURDIR)/.venv/bin:$$PATH"; hooks="$(PYTHON) -m pre_commit run --all-files"; \
		$$hooks >/dev/null 2>&1 || $$hooks

clean: ## remove .venv, caches and build outputs; results in runs/ stay
	rm -rf .venv build dist docs/_build docs/api .pytest_cache .ruff_cache .coverage
	find . -name .git -prune -o -path ./runs -prune -o -type d \
		\( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.egg-info' \) -prune -exec rm -rf {} +

# pip reads the constraints from the environment, where they hold for what the build needs too (older pips take the
# first name, newer both).
INSTALL = PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	$(PYTHON) -m pip install -e

# A .venv that is only half made (no pip), or whose Python has gone, is made anew.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
			found=$$($(BASE_PYTHON) --version 2>/dev/null || echo missing); \
			echo "lensnb needs Python 3.11 or newer, and $(BASE_PYTHON) is $$found;" \
				"name another one: make $(MAKECMDGOALS) BASE_PYTHON=python3.12" >&2; exit 1; }; \
		echo "making .venv with $$($(BASE_PYTHON) --version); the first time takes some minutes"; \
		$(BASE_PYTHON) -m venv --clear .venv; }
	$(INSTALL) '.[$(EXTRAS)]'
	@touch $@

# What the book needs besides, for those who build it.
$(STAMP)-docs: $(STAMP)
	$(INSTALL) '.[docs]'
	@touch $@
