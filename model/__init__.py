"""The networks, and what trains, judges and runs them.

Lives here: what the live product runs (``worker``, one process per device, ``predictor``,
``checkpoint``, ``calibration``, ``resting``) with the shipped weights in ``checkpoints``; and three
modules that any room may use: ``commands``, ``metrics`` and ``weight_files``. The rooms, each of
which imports from those above it alone:

- ``corpora``   the corpora of faces, voices and words, read and made into features
- ``data``      data sets of research: samples with labels and masks, in splits
- ``networks``  every network, its parts and its losses
- ``text``      encoders of text
- the live product, which stands in this folder itself
- ``research``  training and judging networks on data sets
- ``live``      how the shipped checkpoint is trained and judged
- ``results``   the experiments and the page of their results

``research`` and ``results`` do not know the live product; of them ``live`` knows the checkpoints that
``research`` keeps, from whose text encoders it learns.
May import: ``features``.
"""
