"""The experiments, and the page of their results (``docs/results``).

Lives here: all runs of the page, the records that they leave, models of other packages on the same
files (``peers``), tables, plots and claims; the command ``python -m model.results``.
May import: ``features``, ``model.research`` and what that may import.
"""
