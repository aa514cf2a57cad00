"""Build the features of the corpora: ``python -m model.corpora build``."""

from model import commands
from model.corpora.building import app

if __name__ == "__main__":
    commands.run(app)
