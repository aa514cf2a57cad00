"""The server's own routes: the feed over a real WebSocket, health, scripts, and who is let in."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit.config
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from capture.config import CaptureConfig
from dashboard import choices, server
from dashboard.feed import routes
from dashboard.gate import Access, Gate, is_loopback, refusal, require_allowed
from dashboard.pending import LOADING
from dashboard.runtime import Runtime
from features.errors import BindError, WorkerError
from tests.browser import eventually

HERE = "http://127.0.0.1:8501"
FEED = "ws://127.0.0.1:8501/feed"
ORIGIN = {"origin": HERE}
scripted = functools.partial(
    Runtime, capture_module="tests.workers.scripted", inference_module="tests.workers.obedient"
)


def make_app(make_runtime: Callable[[], Runtime] = scripted) -> Starlette:
    return Starlette(
        routes=routes(),
        middleware=[Middleware(Gate)],
        lifespan=server.lifespan(make_runtime),
    )


def gated(gate: Path) -> Callable[[], Runtime]:
    """Makes runtimes whose inference worker loads until ``gate`` is written."""
    return functools.partial(
        Runtime,
        checkpoint=str(gate),
        capture_module="tests.workers.scripted",
        inference_module="tests.workers.gated",
    )


@pytest.fixture
def listens_on() -> Iterator[Any]:
    before = streamlit.config.get_option("server.address")
    yield functools.partial(streamlit.config.set_option, "server.address")
    streamlit.config.set_option("server.address", before)


@pytest.fixture
def client(listens_on: Any) -> Iterator[TestClient]:
    listens_on("127.0.0.1")
    with TestClient(make_app(), base_url=HERE, client=("127.0.0.1", 50000)) as client:
        yield client


def running() -> server.Server:
    current = server.current()
    assert current is not None
    return current


def state() -> str:
    members = running().participants()
    return members[-1].state if members else "none"


def captures(client: TestClient) -> list[dict[str, Any]]:
    workers = client.get("/health").json()["workers"]
    return [worker for worker in workers if worker["role"] == "capture"]


def test_the_feed_begins_with_a_snapshot_and_goes_on_with_what_happens(client: TestClient) -> None:
    session = running().start_session(CaptureConfig(source="demo", purpose="a test"))
    seen: dict[str, Any] = {}
    with client.websocket_connect(FEED, headers=ORIGIN) as feed:
        first = json.loads(feed.receive()["text"])
        assert first["type"] == "snapshot"
        while not {"prediction", "words", "status", "workers", "picture"} <= seen.keys():
            message = feed.receive()
            if message.get("bytes"):
                seen["picture"] = message["bytes"]
            else:
                told = json.loads(message["text"])
                if told.get("lamps") != {}:  # not the inference worker, nor the very first beat
                    seen[told["type"]] = told
    assert seen["prediction"]["session"] == session
    assert -3 <= seen["prediction"]["sentiment"] <= 3
    assert b"\xff\xd8\xff" in seen["picture"]  # a JPEG
    assert seen["status"]["lamps"].keys() == {"text", "voice", "face"}


def test_an_idle_feed_beats(client: TestClient) -> None:
    with client.websocket_connect(FEED, headers=ORIGIN) as feed:
        types = set()
        while "beat" not in types:
            types.add(json.loads(feed.receive()["text"])["type"])


def test_health_tells_the_workers_and_the_hub(client: TestClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    state = answer.json()
    assert state["ok"] is True
    assert [worker["role"] for worker in state["workers"]] == ["inference"]
    assert state["hub"]["browsers"] == 0


def test_before_the_server_stands_health_and_feed_say_so() -> None:
    client = TestClient(Starlette(routes=routes()), base_url=HERE)
    assert client.get("/health").status_code == 503
    with client.websocket_connect(FEED) as feed, pytest.raises(WebSocketDisconnect) as closed:
        feed.receive_text()
    assert closed.value.code == 1013


def test_only_files_of_the_static_folder_are_given_out(client: TestClient) -> None:
    script = client.get("/assets/live.js")
    assert script.status_code == 200
    assert script.headers["content-type"].startswith("text/javascript")
    assert "import" in script.text
    for name in ("nothing.js", "live.html", "..%2fapp.py", "%2e%2e%2ffeed.py", ".."):
        assert client.get(f"/assets/{name}").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "tonality.example"},
        {"host": "127.0.0.1.example:8501"},
        {"origin": "https://elsewhere.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"host": "["},
        {"host": "[::1"},
        {"origin": "http://[::1"},
    ],
)
def test_other_names_and_other_sites_are_refused(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert client.get("/health", headers=headers).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect(FEED, headers=headers),
    ):
        pass
    assert closed.value.code == 1008


def test_other_machines_are_refused() -> None:
    scope = {"client": ("192.0.2.7", 40000), "headers": [(b"host", b"127.0.0.1:8501")]}
    assert refusal(scope) == "only this machine may connect"
    assert refusal({**scope, "client": ("127.0.0.1", 40000)}) is None
    assert refusal({**scope, "client": None}) is not None


def scope_of(client: str, host: str, origin: str = "", path: str = "/feed") -> dict[str, Any]:
    headers = [(b"host", host.encode())] + [(b"origin", origin.encode())] * bool(origin)
    return {"client": (client, 40000), "path": path, "headers": headers}


def test_hosts_and_origins_that_the_user_names_are_let_in() -> None:
    named = {
        "TONALITY_HOSTS": "Tonality.lan, 192.0.2.7:8501,[2001:db8::7]",
        "TONALITY_ORIGINS": "https://dash.example/ , http://127.0.0.1:3000",
    }
    access = Access.named(named)
    assert access.beyond and not Access().beyond and not Access.named({}).beyond
    for host in ("tonality.lan", "TONALITY.lan:9999", "192.0.2.7:8501", "[2001:db8::7]:80"):
        assert refusal(scope_of("192.0.2.9", host), access) is None
        assert refusal(scope_of("192.0.2.9", host, f"http://{host}", "/"), access) is None
    for host in ("192.0.2.7:80", "else.lan", "127.0.0.1:8501", "localhost", "tonality.lan.evil"):
        assert refusal(scope_of("192.0.2.9", host), access) is not None
    for origin in ("https://dash.example", "http://127.0.0.1:3000"):
        assert refusal(scope_of("127.0.0.1", "127.0.0.1:8501", origin), access) is None
        assert refusal(scope_of("127.0.0.1", "127.0.0.1:8501", origin, "/"), access) is not None
        assert refusal(scope_of("127.0.0.1", "127.0.0.1:8501", origin)) is not None
    for origin in ("http://dash.example", "https://dash.example.evil", "null"):
        assert refusal(scope_of("127.0.0.1", "127.0.0.1:8501", origin), access) is not None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TONALITY_HOSTS", "*"),
        ("TONALITY_HOSTS", "http://tonality.lan"),
        ("TONALITY_HOSTS", "0.0.0.0"),
        ("TONALITY_HOSTS", "a b"),
        ("TONALITY_ORIGINS", "*"),
        ("TONALITY_ORIGINS", "dash.example"),
        ("TONALITY_ORIGINS", "https://dash.example/path"),
    ],
)
def test_what_names_no_host_or_origin_is_refused_in_one_line(variable: str, value: str) -> None:
    with pytest.raises(BindError, match=variable) as refused:
        Access.named({variable: value})
    assert "\n" not in str(refused.value)


def test_other_addresses_are_listened_on_only_where_hosts_are_named() -> None:
    require_allowed("0.0.0.0", Access.named({"TONALITY_HOSTS": "tonality.lan"}))
    require_allowed("127.0.0.1", Access())
    with pytest.raises(BindError, match="TONALITY_HOSTS=NAME_OR_ADDRESS"):
        require_allowed("0.0.0.0", Access.named({"TONALITY_HOSTS": "localhost"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.8.8.8"])
def test_loopback_in_its_spellings(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.168.1.2", "localhost.example", "127.1"])
def test_everything_else_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", None])
def test_a_server_that_others_could_reach_does_not_start(
    listens_on: Any, address: str | None
) -> None:
    listens_on(address)
    with pytest.raises(SystemExit, match="refused, because everybody"):
        server.refuse_other_addresses()
    with pytest.raises(BindError, match="refused, because everybody"), TestClient(make_app()):
        pass
    assert server.current() is None


def test_an_uploaded_file_is_gone_after_its_session(client: TestClient) -> None:
    folder = running().uploads / "one"
    folder.mkdir()
    path = folder / "calm.mp4"
    path.write_bytes(b"media")
    session = running().start_session(CaptureConfig(source=str(path), purpose="a test"))
    running().stop_session(session)
    assert not folder.exists()


def test_an_uploaded_file_that_is_started_again_stays(client: TestClient) -> None:
    folder = running().uploads / "one"
    folder.mkdir()
    path = folder / "broken.mp4"
    path.write_bytes(b"media")
    config = CaptureConfig(source=str(path), purpose="a test")
    first = running().start_session(config)
    eventually(lambda: state() == "failed")
    assert client.get("/health").status_code == 503
    second = running().start_session(config)
    assert path.is_file()
    assert list(running().configs) == [(second, "me")]
    assert second != first


def test_uploads_of_a_server_that_was_killed_are_deleted(
    listens_on: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = tmp_path / f"{server.UPLOADS}999999999-abc"
    lives = tmp_path / f"{server.UPLOADS}{os.getppid()}-abc"
    killed.mkdir()
    lives.mkdir()
    listens_on("127.0.0.1")
    with TestClient(make_app(), base_url=HERE):
        assert not killed.exists()
        assert lives.exists()


@pytest.mark.parametrize(
    ("source", "use", "flags"),
    [
        ("demo", choices.USES, (True, True, True, True)),
        ("clip.mp4", [choices.WORDS], (False, True, False, True)),
        ("clip.mp4", [choices.FACE], (True, False, False, False)),
        ("webcam:0", choices.USES, (True, False, False, False)),
        ("microphone:1", choices.USES, (False, True, True, True)),
        ("speakers:a.monitor", choices.USES, (False, True, True, True)),
        ("webcam:0+microphone:1", [choices.FACE, choices.VOICE], (True, True, True, False)),
    ],
)
def test_choices_become_a_configuration(
    source: str, use: list[str], flags: tuple[bool, ...]
) -> None:
    assert choices.missing(source, use, "a test") == ""
    made = choices.config(choices.FILE, source, use, "base", " a test ")
    assert (made.picture, made.sound, made.voice, made.words) == flags
    assert (made.source, made.purpose, made.preview) == (source, "a test", made.picture)
    assert made.participant == ("other" if source.startswith("speakers") else "me")


def test_what_is_missing_before_a_start_is_said() -> None:
    assert "source" in choices.missing(None, choices.USES, "a test")
    assert "at least one" in choices.missing("demo", [], "a test")
    assert "nothing" in choices.missing("webcam:0", [choices.WORDS], "a test")
    assert "what it is for" in choices.missing("demo", choices.USES, "  ")


def test_nothing_is_left_when_the_server_ends(listens_on: Any, tmp_path: Path) -> None:
    import psutil

    listens_on("127.0.0.1")
    with TestClient(make_app(), base_url=HERE, client=("127.0.0.1", 50000)) as client:
        running().start_session(CaptureConfig(source="demo", purpose="a test"))
        eventually(lambda: state() == "running")
        uploads = running().uploads
        pids = [worker["pid"] for worker in client.get("/health").json()["workers"]]
        assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not uploads.exists()
    assert server.current() is None


def test_with_the_demo_variable_the_demo_starts_by_itself_and_holds_nothing_up(
    listens_on: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listens_on("127.0.0.1")
    monkeypatch.setenv(server.DEMO_VARIABLE, "1")
    with TestClient(make_app(gated(tmp_path / "gate")), base_url=HERE):
        (member,) = running().participants()
        assert member.state == "starting"
        config = running().configs[member.session, member.participant]
        assert (config.source, config.preview, config.purpose) == (
            "demo",
            True,
            server.DEMO_PURPOSE,
        )


def test_a_session_waits_until_its_first_window_can_be_scored(
    listens_on: Any, tmp_path: Path
) -> None:
    listens_on("127.0.0.1")
    gate = tmp_path / "gate"
    app = make_app(gated(gate))
    with TestClient(app, base_url=HERE, client=("127.0.0.1", 50000)) as client:
        session = running().start_session(CaptureConfig(source="demo", purpose="a test"))
        (waiting,) = captures(client)
        assert (waiting["session"], waiting["state"], waiting["pid"]) == (session, "starting", None)
        assert waiting["detail"] == LOADING
        assert client.get("/health").status_code == 200
        with pytest.raises(WorkerError, match="about to start already"):
            running().start_session(CaptureConfig(source="demo", purpose="a test"))
        assert running().runtime.sessions() == []
        gate.write_text("")
        eventually(lambda: state() == "running")
        (worker,) = captures(client)
        assert worker["session"] == session and worker["pid"]
        assert list(running().configs) == [(session, "me")]
        running().stop_session(session)
        assert state() == "none"


def test_a_session_that_waits_can_be_called_off(listens_on: Any, tmp_path: Path) -> None:
    listens_on("127.0.0.1")
    gate = tmp_path / "gate"
    with TestClient(make_app(gated(gate)), base_url=HERE):
        path = running().uploads / "one" / "calm.mp4"
        path.parent.mkdir()
        path.write_bytes(b"media")
        session = running().start_session(CaptureConfig(source=str(path), purpose="a test"))
        running().stop_session(session)
        assert state() == "none" and not path.parent.exists() and running().configs == {}
        gate.write_text("")
        eventually(lambda: running().runtime.states()[0].state == "running")
        assert running().runtime.sessions() == []


def test_a_session_that_waits_for_a_broken_network_says_why(
    listens_on: Any, tmp_path: Path
) -> None:
    listens_on("127.0.0.1")
    gate = tmp_path / "gate"
    app = make_app(gated(gate))
    with TestClient(app, base_url=HERE, client=("127.0.0.1", 50000)) as client:
        config = CaptureConfig(source="demo", purpose="a test")
        first = running().start_session(config)
        gate.write_text("refuse")
        eventually(lambda: state() == "failed")
        (worker,) = captures(client)
        assert "the inference worker does not run: " in worker["detail"]
        assert "the checkpoint is broken: train it again" in worker["detail"]
        assert client.get("/health").status_code == 503
        with pytest.raises(WorkerError, match="the checkpoint is broken: train it again"):
            running().start_session(config)
        assert first not in running().configs


def test_a_bus_that_ends_is_told_by_health_and_feed(client: TestClient) -> None:
    broker = running().runtime._broker
    assert broker is not None
    broker._thread.close()
    answer = client.get("/health")
    assert answer.status_code == 503
    told = answer.json()["workers"][-1]
    assert (told["role"], told["state"]) == ("server", "failed")
    assert told["detail"].startswith("the bus broker is not running; ")

    def fed() -> bool:
        snapshot = json.loads(running().hub.snapshot())
        return any(worker["role"] == "server" for worker in snapshot["workers"])

    eventually(fed)


def test_words_alone_are_called_text_only() -> None:
    assert "not biometric" in choices.ready([choices.WORDS])
    assert choices.ready(choices.USES) == "Ready."
    for use, said in (([choices.WORDS], True), (choices.USES, False), ([choices.VOICE], False)):
        made = choices.config(choices.FILE, "clip.mp4", use, "base", "a test")
        assert ("not biometric" in choices.described(made)) is said
