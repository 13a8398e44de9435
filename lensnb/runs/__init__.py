"""Runs: a notebook, its parameters, and the folder of results that it leaves.

A notebook declares its parameters in one tagged cell, typed and commented,

    flow_steps: int = 1000  # optimiser steps of the flow

and the next cell calls :func:`check_parameters`, which converts the values that papermill passes
on to those types. The runner, :func:`run`, refuses unknown names and wrong types before anything
starts (papermill accepts both silently) and executes the notebook. It leaves in the run folder:

* the executed notebook, and an HTML report that opens offline;
* the figures;
* ``results.json``, which the notebook writes by :func:`save_results`;
* ``run.json``: what was run, on what machine, and how it ended.

A run that is done is not run again, and an interrupted run resumes. :func:`sweep` runs a whole
study, one notebook with many parameters, and :func:`table` compares many runs.
"""

from .html import write_html
from .listing import headline, table
from .parameters import check_names, check_parameters, coerce, read_parameters
from .records import RECORD, read_record
from .results import save_results, versions
from .runner import Unfinished, folder_name, run
from .sets import load_sets
from .study import read_study, run_one, sweep

__all__ = [
    "RECORD", "Unfinished", "check_names", "check_parameters", "coerce", "folder_name", "headline",
    "load_sets", "read_parameters", "read_record", "read_study", "run", "run_one", "save_results",
    "sweep", "table", "versions", "write_html",
]  # fmt: skip
