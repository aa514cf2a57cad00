"""Every network, its parts and its losses; no files, no training.

Lives here: RTIL as it runs live, the RTIL family and MITR-DNet as published, words alone,
distillation; what goes into them (``inputs`` live, ``views`` for sequences) and comes out
(``readings``, ``emotions``).
May import: ``features``, and of ``model.data`` the names of the modalities.
"""
