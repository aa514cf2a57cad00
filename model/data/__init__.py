"""Data sets of research: samples with labels and masks, in splits.

Lives here: readers of the formats of MMSA and MISA (which run nothing of a file), of plain files
and of our own; scaling; the protocols of missing data; the command ``python -m model.data``.
May import: ``features``, ``model.corpora``, and the modules that any room of ``model`` may use.
"""
