"""Commands of ``lensnb``: what they take, read, do and leave.

* ``compare``: one's own maps against true maps, with ``own_sets`` (which sets of maps) and
  ``report_folder`` (what the command leaves);
* ``covariance``: the covariance of a model or of maps as a SACC file for pipelines;
* ``app``: quiz, explorer and comparison as web pages;
* ``cascade``: a cascade of scales, with ``cascade_maps`` (its maps, from files),
  ``level_trainings`` and ``level_maps`` (one level), ``level_processes`` (several at a time) and
  ``stopping`` (a time limit);
* ``running``: ``run``, ``runs`` and ``sweep``; ``files_of_maps``: ``draw`` and ``convert``;
  ``simulations``: ``simulate``, ``cut`` and ``sample``;
* ``parsers``: how all of them look.

``doctor`` and ``share`` are in ``lensnb.__main__``, above the modules that they need.
"""
