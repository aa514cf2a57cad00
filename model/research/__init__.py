"""Training and judging networks on data sets: what ``tonality train`` and ``evaluate`` run.

Lives here: plans by name (``presets``), parts to leave out (``ablations``), data made into batches,
the training that goes on where it stopped, checkpoints of research, evaluation by protocol.
May import: ``features``, ``model.data``, ``model.networks``, ``model.text``, and the modules that any
room of ``model`` may use.
"""
