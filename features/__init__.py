"""What flows: feature specs and extractors, windows, messages and the bus.

Lives here: the error tree, messages and their wire form, bounded queues and owned threads, the
ZeroMQ bus, the assets (weights and media with their hashes), the extractors of face, voice and
speech, and the windower that puts their streams on one clock.
May import: nothing of ours. Every other room may import this one.
"""

import os

# Read when the library is loaded, so it must stand before; our pinned release sends nothing anyway.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
