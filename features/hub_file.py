"""Fetches one file from the model hub: ``python -m features.hub_file REPOSITORY REVISION PATH FOLDER``.

Runs as a process of its own, because the hub's client reads its settings while it is imported and
retries for long: here it can be given settings of its own, be watched, and be stopped.
"""

from __future__ import annotations

import sys

PROBE_TIMEOUT_S = 5.0


def main(repository: str, revision: str, path: str, folder: str) -> None:
    """Put the file into the folder. Whatever the hub's client raises ends the process."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(repository, path, revision=revision)
    # The client's download retries an unreachable hub for 23 s; one question without retries first.
    get_hf_file_metadata(url, token=False, timeout=PROBE_TIMEOUT_S)
    hf_hub_download(repository, path, revision=revision, local_dir=folder, token=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
