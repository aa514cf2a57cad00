"""What programs get from the server: a real one, over real sockets, by the examples of the docs."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from dashboard.lines import PredictionLine
from dashboard.openapi import description
from dashboard.schema import Health, Snapshot
from tests.browser import ROOT, PageServer, eventually

EXAMPLES = ROOT / "docs" / "examples"
LISTED = "https://dash.example"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("programs")
    server = PageServer(
        folder, TONALITY_DEMO="1", TONALITY_HOSTS="tonality.lan", TONALITY_ORIGINS=LISTED
    )
    eventually(lambda: bool(ask(server, "/snapshot")["participants"]))
    yield server
    server.close()


def ask(server: PageServer, path: str) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}{path}", timeout=10).raise_for_status().json())


def events(server: PageServer, path: str, most: int) -> list[dict[str, str]]:
    """The first events of a stream, each with its fields."""
    found: list[dict[str, str]] = []
    with httpx.stream("GET", f"{server.url}{path}", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields.pop("retry", None) is None and fields:
                found.append(fields)
                fields = {}
                if len(found) == most:
                    return found
    raise AssertionError(f"the stream ended after {found}")


def test_events_and_socket_give_the_very_lines_of_the_command_line(server: PageServer) -> None:
    origin = server.url
    with connect(f"{server.url.replace('http', 'ws')}/predictions", origin=origin) as feed:  # type: ignore[arg-type]
        streamed = events(server, "/events", 4)
        heard = [str(feed.recv(timeout=10)) for _ in range(8)]
    assert {one["event"] for one in streamed} == {"prediction"}
    both = [one["data"] for one in streamed if one["data"] in heard]
    assert len(both) >= 2  # byte for byte the same, as far as they overlap
    line = msgspec.json.decode(streamed[0]["data"], type=PredictionLine, strict=True)
    where = f"{line.session}/{line.participant}/{line.seq}.{line.revision}"
    assert streamed[0]["id"] == where
    assert streamed[0]["data"] == json.dumps(json.loads(streamed[0]["data"]), ensure_ascii=False)


def test_only_last_revisions_of_one_participant_where_that_is_asked(server: PageServer) -> None:
    lines = [json.loads(one["data"]) for one in events(server, "/events?final=1&participant=me", 3)]
    assert {(line["participant"], line["revision"]) for line in lines} == {("me", 1)}
    assert [line["seq"] - lines[0]["seq"] for line in lines] == [0, 1, 2]
    assert ask(server, "/snapshot?participant=nobody")["participants"] == []


def test_the_snapshot_has_the_newest_and_what_is_asked_for(server: PageServer) -> None:
    eventually(
        lambda: len(ask(server, "/snapshot?seconds=3")["participants"][0]["predictions"]) > 4
    )
    whole = ask(server, "/snapshot?seconds=3")
    (now,) = msgspec.convert(whole, Snapshot, strict=True).participants
    assert now.latest == now.predictions[-1]
    assert now.age_s is not None and 0 <= now.age_s < 30
    assert now.predictions[0].end_s > now.predictions[-1].end_s - 3.0
    assert "must say" in now.words
    assert ask(server, "/snapshot")["participants"][0]["predictions"] == []
    assert httpx.get(f"{server.url}/snapshot?seconds=many").status_code == 400


def test_answers_keep_to_the_description(server: PageServer) -> None:
    told = ask(server, "/openapi.json")
    assert told == json.loads(json.dumps(description()))
    assert told["openapi"].startswith("3.1")

    def fits(name: str, value: object) -> None:
        shape = {"$ref": f"#/components/schemas/{name}", "components": told["components"]}
        jsonschema.Draft202012Validator(shape).validate(value)

    fits("Snapshot", ask(server, "/snapshot?seconds=5"))
    fits("Health", ask(server, "/health"))
    fits("PredictionLine", json.loads(events(server, "/events", 1)[0]["data"]))
    with pytest.raises(jsonschema.ValidationError):
        fits("PredictionLine", {"session": "s"})
    msgspec.convert(ask(server, "/health"), Health, strict=True)


def test_every_path_that_is_described_is_there_and_the_page_loads_nothing(
    server: PageServer,
) -> None:
    for path in description()["paths"]:
        if path not in ("/events", "/predictions"):
            assert httpx.get(f"{server.url}{path}").status_code == 200
    page = httpx.get(f"{server.url}/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r'(src|href)="?(https?:)?//', page.text)
    for name in ("PredictionLine", "/predictions", "lag_ms", "final"):
        assert name in page.text
    assert "<code>tonality score --format jsonl</code>" in page.text and "`" not in page.text


def test_figures_for_prometheus(server: PageServer) -> None:
    text = httpx.get(f"{server.url}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(family: str, **labels: str) -> float:
        found = [s for s in families[family].samples if labels.items() <= s.labels.items()]
        assert found, (family, labels)
        return float(found[0].value)

    def histogram(suffix: str) -> float:
        wanted = {"stage": "total", "revision": "first"}
        (sample,) = [
            s
            for s in families["tonality_lag_seconds"].samples
            if s.name.endswith(suffix) and s.labels == wanted
        ]
        return float(sample.value)

    assert histogram("_sum") / histogram("_count") == pytest.approx(0.282)
    assert value("tonality_lag_recent_seconds", quantile="0.95", revision="first") == 0.282
    assert value("tonality_dropped", reason="pictures skipped") == 3
    assert value("tonality_worker_up", role="capture", state="running") == 1
    assert value("tonality_worker_restarts", worker="inference") == 0
    assert value("tonality_worker_memory_bytes", worker="inference") > 2**20
    assert 0 <= value("tonality_prediction_age_seconds", participant="me") < 30
    assert 0 <= value("tonality_heartbeat_age_seconds", worker="inference") < 30
    assert value("tonality_modality_age_seconds", modality="voice", participant="me") >= 0


@pytest.mark.parametrize("example", ["follow.py", "follow.mjs"])
def test_the_examples_run(server: PageServer, example: str) -> None:
    node = shutil.which("node")
    assert example.endswith(".py") or node, "Node is missing; on Debian: apt-get install nodejs"
    runs = [sys.executable] if example.endswith(".py") else [str(node)]
    text = (EXAMPLES / example).read_text()
    assert len(text.splitlines()) <= 14
    with subprocess.Popen(
        [*runs, str(EXAMPLES / example), server.url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(4)]
        finally:
            process.kill()
    for line in lines:
        assert re.fullmatch(r" *\d+\.\d s  (-?\d\.\d+|None|null)  .*\n", line), line


def test_the_page_of_a_named_site_may_read_the_feed_and_nothing_else(server: PageServer) -> None:
    listed = {"origin": LISTED}
    answer = httpx.get(f"{server.url}/snapshot", headers=listed)
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert "Origin" in answer.headers["vary"]
    assert httpx.get(f"{server.url}/", headers=listed).status_code == 403
    other = httpx.get(f"{server.url}/snapshot", headers={"origin": "https://evil.example"})
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (403, False)
    with connect(f"{server.url.replace('http', 'ws')}/predictions", origin=LISTED) as feed:  # type: ignore[arg-type]
        assert "sentiment" in json.loads(feed.recv(timeout=10))


def test_a_named_host_is_let_in_and_streamlit_takes_its_origin(server: PageServer) -> None:
    port = server.url.rpartition(":")[2]
    host = f"tonality.lan:{port}"
    assert httpx.get(f"{server.url}/health", headers={"host": host}).status_code == 200
    assert httpx.get(f"{server.url}/health", headers={"host": "else.lan"}).status_code == 403
    stream, here = f"ws://{host}/_stcore/stream", socket.create_connection(("127.0.0.1", int(port)))
    with connect(stream, origin=f"http://{host}", sock=here) as page:  # type: ignore[arg-type]
        page.ping().wait(5)


def test_the_server_ends_while_programs_listen(tmp_path: Path) -> None:
    server = PageServer(tmp_path, TONALITY_DEMO="1")
    with (
        httpx.stream("GET", f"{server.url}/events", timeout=30) as answer,
        connect(f"{server.url.replace('http', 'ws')}/predictions", origin=server.url) as feed,  # type: ignore[arg-type]
    ):
        family = server.family()
        server.process.send_signal(signal.SIGTERM)
        ended = b"".join(answer.iter_bytes())  # to its end
        assert b"predictions follow" in ended
        with pytest.raises(ConnectionClosed):
            while True:
                feed.recv(timeout=20)
        assert feed.close_code == 1012  # the server goes
    server.process.wait(20)
    assert not any(one.is_running() and one.status() != "zombie" for one in family)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.url}/health", timeout=5)


def test_lines_are_printed_as_they_are_sent() -> None:
    from capture.config import CaptureConfig
    from dashboard.lines import json_line
    from dashboard.scoring import LineWriter
    from tests.workers.scripted import Script

    out = io.StringIO()
    prediction = Script(CaptureConfig(session="é", participant="me")).prediction(9, 1)
    LineWriter(out, "jsonl").write(prediction)
    assert out.getvalue() == json_line(prediction) + "\n"
    assert '"é"' in out.getvalue()
