"""The small network that sees expressions in pictures of faces: its parts, its training, its export.

What it gives is a feature like any other: ``features/appearance.onnx`` is its result, and
:mod:`features.appearance` runs it live. Imports ``features`` and ``model.corpora``.
"""
