"""Prints each new score: python docs/examples/follow.py [http://127.0.0.1:8501]"""

import json
import sys

from websockets.sync.client import connect

address = (sys.argv[1:] or ["http://127.0.0.1:8501"])[0].replace("http", "ws", 1)
with connect(f"{address}/predictions") as feed:
    for line in map(json.loads, feed):
        print(f"{line['end_s']:7.1f} s  {line['sentiment']}  {line['text']}", flush=True)
