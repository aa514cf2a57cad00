"""Data sets listed, described and converted: ``python -m model.data``."""

from model import commands
from model.data.datasets import app

if __name__ == "__main__":
    commands.run(app)
