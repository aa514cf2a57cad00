"""What people see and start: the page, the feed, the command line, the supervisor.

Lives here: the Streamlit page and the server around it, the supervisor that starts and watches the
workers, the hub that keeps the last minutes for browsers, the ``tonality`` command.
May import: ``capture``, ``features`` and ``model``.
"""
