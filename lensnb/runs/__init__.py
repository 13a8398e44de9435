"""Runs: a notebook, its parameters, and the folder of results that it leaves.

A notebook declares its parameters in one tagged cell, typed and commented,

    flow_steps: int = 1000  # optimiser steps of the flow

and the next cell calls :func:`check_parameters`, which coerces what papermill handed over to those types. The runner,
:func:`run`, refuses unknown names and wrong types before anything starts (papermill accepts both in silence), executes the
notebook, and leaves in the run folder the executed notebook, an HTML report that opens by itself offline, the figures,
``results.json``, which the notebook writes by :func:`save_results`, and ``run.json``: what was run, on what, and how it ended.
A run that is done is not run again, and one that was stopped goes on. :func:`table` puts many runs side by side, and
:func:`lensnb.runs.sweep.sweep` makes them.
"""

from .html import write_html
from .parameters import check_names, check_parameters, coerce, read_parameters
from .results import save_results, versions
from .runner import RECORD, Unfinished, folder_name, read_record, run
from .sets import load_sets
from .table import headline, table

__all__ = [
    "RECORD", "Unfinished", "check_names", "check_parameters", "coerce", "folder_name", "headline", "load_sets", "read_parameters",
    "read_record", "run", "save_results", "table", "versions", "write_html",
]  # fmt: skip
