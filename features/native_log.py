"""Keeps the chatter of native libraries out of the terminal, and lets their errors through.

MediaPipe logs through a C++ library whose level no environment variable and no call of its Python
package can set, straight to file descriptor 2.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

STDERR = 2
# What absl logs as information and warnings, and what TensorFlow Lite says about itself.
CHATTER = re.compile(
    rb"[IW]\d{4} \d\d:\d\d:|INFO: Created TensorFlow Lite "
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
)

_lock = threading.Lock()


@contextlib.contextmanager
def without_chatter(everything: bool = False) -> Iterator[None]:
    """Hold back native information and warnings while the body runs; the rest is written after it.

    With ``everything`` nothing is written: for libraries whose failures are told by other means.
    Works on the file descriptor of the whole process: keep the body short.
    """
    with _lock, tempfile.TemporaryFile() as held:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        try:
            kept = os.dup(STDERR)
        except OSError:  # no standard error at all: nothing to keep quiet
            yield
            return
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            held.seek(0)
            if not everything:
                os.write(STDERR, b"".join(line for line in held if not CHATTER.match(line)))
