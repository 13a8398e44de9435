"""Commands of ``lensnb`` that need more than a few lines: what they take, read, do and leave.

* ``compare``: one's own maps against true maps, with ``own_sets`` (which sets of maps) and
  ``report_folder`` (what the command leaves);
* ``covariance``: the covariance of a model or of maps as a SACC file for pipelines.
"""
