"""The networks, and what trains, judges and runs them.

Lives here: RTIL and its parts, losses, the text encoder, checkpoints, corpora, training, the
predictor and the inference worker (one process per device).
May import: ``features``.
"""
