"""The corpora that the live checkpoint learns from: readers, and features by the live extractors.

Lives here: faces, voices and texts, each with its label; the cache of what was extracted; the
command ``python -m model.corpora``.
May import: ``features``, and the modules that any room of ``model`` may use.
"""
