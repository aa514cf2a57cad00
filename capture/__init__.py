"""Where media comes from: sources behind one small contract, and the capture worker.

Lives here: one module per source (webcam, microphone, file, demo), the pipeline that runs the
extractors over a source, and the capture worker, one process per participant.
May import: ``features``.
"""
