"""Runs: a notebook, its parameters, and the folder of results that it leaves.

A notebook declares its parameters in one tagged cell, typed and commented,

    flow_steps: int = 1000  # optimiser steps of the flow

and the next cell calls :func:`check_parameters`, which converts the values that papermill passes
on to those types. The runner, :func:`run`, refuses unknown names and wrong types before anything
starts (papermill accepts both silently) and executes the notebook. It leaves in the run folder:

* the executed notebook, and ``notebook.html``, the same as a page that opens offline;
* the figures;
* ``results.json``, and ``report.html``, the page of a comparison, which the notebook writes by
  :func:`save_results`;
* ``run.json``: what was run, on what machine, and how it ended.

A run that is done is not run again, and an interrupted run resumes. :func:`sweep` runs a whole
study, one notebook with many parameters, and :func:`table` compares many runs.
"""

from ..renamed import moved
from .listing import answers, headline, table
from .parameters import check_parameters
from .results import save_results
from .runner import Unfinished, run
from .sets import load_sets
from .study import sweep

__all__ = [
    "Unfinished", "answers", "check_parameters", "headline", "load_sets", "run", "save_results",
    "sweep", "table",
]  # fmt: skip

__getattr__ = moved(
    __name__,
    RECORD="lensnb.runs.records",
    check_names="lensnb.runs.parameters",
    coerce="lensnb.runs.parameters",
    folder_name="lensnb.runs.runner",
    read_parameters="lensnb.runs.parameters",
    read_record="lensnb.runs.records",
    versions="lensnb.runs.results",
    write_html="lensnb.runs.html",
)
