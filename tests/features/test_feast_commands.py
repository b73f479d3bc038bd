"""Feast's own commands and its pages work on our repository, with the environment that we print."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from features.declared import all_views
from features.feature_set import EntityRef
from features.fraud import CARD, FRAUD
from features.history import History
from features.online_store import RedisOnlineStore
from features.store_plan import load_plan
from headrace.cli import main
from stream.child import free_port
from stream.connection import RedisConnection
from stream.records import micros

FEAST = Path(sys.executable).with_name("feast")
REPOSITORY = Path(__file__).parents[2] / "feature_repo"
UP_LIMIT_S = 600
REGISTRY = "/api/v1"
PATHS = [
    "/",
    "/projects-list.json",
    *(f"{REGISTRY}/{kind}?project=headrace" for kind in ("feature_views", "feature_services")),
]
LINES = [
    "at,id,card,shop,sum,fraud",
    "2026-03-01T10:00:00,e1,c1,m1,10,1",
    "2026-03-01T11:00:00,e2,c1,m1,20,0",
    "2026-03-02T09:00:00,e3,c2,m1,30,0",
    "2026-03-02T23:30:00,e4,c1,m2,40,0",
]
# The time comes last: its zone follows.
FIELDS = {"event_id": "id", "card_id": "card", "merchant_id": "shop", "amount": "sum", "event_timestamp": "at"}
MAPPING = "\n".join(f'[{field}]\ncolumn = "{column}"' for field, column in FIELDS.items())
MAPPING += '\nzone = "UTC"\n[label]\ncolumn = "fraud"\nfraud = [1]\ndelay = "1d"\n'


def headrace(*words: str) -> str:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def states(folder: Path, *options: str) -> list[dict[str, Any]]:
    """The cards' rows that `headrace features states` writes."""
    (folder / "payments.csv").write_text("\n".join(LINES) + "\n")
    (folder / "columns.toml").write_text(MAPPING)
    files = ("--data", str(folder / "payments.csv"), "--mapping", str(folder / "columns.toml"))
    said = headrace("features", "states", *files, "--home", str(folder), *options)
    assert said.count("_state.parquet") == len(FRAUD.views)
    rows: list[dict[str, Any]] = pq.read_table(folder / "states" / "card_state.parquet").to_pylist()
    return rows


def test_states_are_computed_from_a_file(tmp_path: Path) -> None:
    rows = states(tmp_path)
    assert {row["card_id"]: f"{row['event_timestamp']:%d %H:%M}" for row in rows} == {
        "c1": "02 23:30",
        "c2": "02 09:00",
    }
    state = next(row["card_state"] for row in rows if row["card_id"] == "c1")
    at_us = micros(datetime.fromisoformat("2026-03-03T00:00:00+00:00"))
    values = dict(zip(CARD.names, FRAUD.read_view("card", History.decode(CARD, state), at_us).tolist(), strict=True))
    assert (values["card_count_1h"], values["card_count_30d"], values["card_sum_amount_7d"]) == (1, 3, 70)


def test_states_are_computed_for_each_event_of_a_span(tmp_path: Path) -> None:
    rows = states(tmp_path, "--every", "event", "--from", "2026-03-01T11:00:00", "--to", "2026-03-02T23:30:00")
    assert sorted(f"{row['card_id']} {row['event_timestamp']:%d %H:%M}" for row in rows) == [
        "c1 01 11:00",
        "c2 02 09:00",
    ]


def test_the_environment_is_printed_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "my home"
    monkeypatch.setenv("HEADRACE_REDIS", "rediss://me:it%27s@store:7000/2")
    lines = headrace("features", "env", "--home", str(home))
    script = f'{lines}printf "%s\\n" "$HEADRACE_FEAST_REGISTRY" "$HEADRACE_FEAST_REDIS"'
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    connection = "store:7000,db=2,password=it's,username=me,ssl=true"
    assert said.splitlines() == [str(home / "registry.db"), connection]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Path:
    from feature_repo.repository import apply

    folder: Path = tmp_path_factory.mktemp("feast")
    apply(folder, redis_url)
    return folder


PAGES = f"""
import asyncio, json
import httpx
from feast import FeatureStore
from feast.ui_server import get_app

app = get_app(FeatureStore(repo_path={str(REPOSITORY)!r}), "headrace")
async def fetch(paths):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ui") as client:
        return {{path: (await client.get(path)).raise_for_status().text for path in paths}}
print(json.dumps(asyncio.run(fetch({PATHS}))))
"""
"""The application that `feast ui` serves, asked without a server."""


def feast(home: Path, redis_url: str, *commands: str, then: str = "", **environment: str) -> str:
    """What Feast's command line says to these commands: one process for all, since importing it takes seconds."""
    each = "\n".join(f"cli({['-c', str(REPOSITORY), *words.split()]}, standalone_mode=False)" for words in commands)
    lines = headrace("features", "env", "--home", str(home), "--redis", redis_url)
    program = shlex.quote(f"from feast.cli.cli import cli\n{each}\n{then}")
    command = ["/bin/sh", "-c", f"{lines}exec {sys.executable} -c {program}"]
    all_variables = os.environ | environment
    done = subprocess.run(command, capture_output=True, text=True, timeout=UP_LIMIT_S, env=all_variables, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.thorough
@pytest.mark.slow
def test_feast_lists_our_views(home: Path, redis_url: str) -> None:
    said = feast(home, redis_url, "feature-views list").splitlines()
    listed = {line.split()[0] for line in said[1:]}
    assert listed == {name for view in all_views() for name in (view.name, view.state_view)}


def registered(store: Any) -> list[list[str]]:
    kinds = (
        store.list_entities(),
        store.list_feature_views(),
        store.list_on_demand_feature_views(),
        store.list_feature_services(),
    )
    return [sorted(one.name for one in kind) for kind in kinds]


def they_show_our_views(fetch: Callable[[str], str]) -> None:
    """The pages and what they ask for, by their paths."""
    assert "<title>Feast" in fetch("/")
    (project,) = json.loads(fetch("/projects-list.json"))["projects"]
    assert (project["id"], project["registryPath"]) == ("headrace", REGISTRY)
    views = json.loads(fetch(f"{REGISTRY}/feature_views?project=headrace"))["featureViews"]
    shown = {(one["type"], one["spec"]["name"]) for one in views}
    assert shown == {("featureView", view.state_view) for view in all_views()} | {
        ("onDemandFeatureView", view.name) for view in all_views()
    }
    services = json.loads(fetch(f"{REGISTRY}/feature_services?project=headrace"))["featureServices"]
    (service,) = (one for one in services if one["spec"]["name"] == "fraud_v1")
    features = [column["name"] for view in service["spec"]["features"] for column in view["featureColumns"]]
    assert set(features) == {name for view in FRAUD.views for name in view.names}


@pytest.mark.slow
def test_feasts_own_apply_keeps_everything_its_materialize_loads_the_states_and_its_pages_show_them(
    home: Path, redis_db: str
) -> None:
    from feature_repo.repository import open_store

    before = registered(open_store(home, redis_db))
    rows = states(home)
    # The end is the newest event's time, in UTC, wherever the machine stands.
    load = "materialize 2026-01-01T00:00:00 2026-03-02T23:30:00"
    said = feast(home, redis_db, "apply", load, then=PAGES, TZ="America/New_York")
    they_show_our_views(json.loads(said.splitlines()[-1]).__getitem__)
    assert registered(open_store(home, redis_db)) == before
    with RedisConnection(redis_db) as connection:
        store = RedisOnlineStore(connection, load_plan(home / "plan.json"), ttl_ms=3_600_000)
        for row in rows:
            (entity,) = store.read_states([EntityRef("card_id", row["card_id"])])
            assert entity.states["card"] == row["card_state"]


@pytest.fixture
def pages(home: Path, redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of a running `feast ui`."""
    port = free_port()
    with (tmp_path / "ui.log").open("wb") as log:
        lines = headrace("features", "env", "--home", str(home), "--redis", redis_url)
        words = f"{FEAST} -c {REPOSITORY} ui --host 127.0.0.1 --port {port}"
        server = subprocess.Popen(["/bin/sh", "-c", f"{lines}exec {words}"], stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + UP_LIMIT_S
        while True:
            try:
                fetched(f"{address}/")
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "ui.log").read_text()
                assert time.monotonic() < deadline, "the Feast UI did not come up"
                time.sleep(0.3)
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(UP_LIMIT_S)
        finally:
            server.kill()
            server.wait()


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=120) as answer:
        content: bytes = answer.read()
        return content


@pytest.mark.thorough
@pytest.mark.slow
def test_the_feast_ui_shows_our_views(pages: str) -> None:
    they_show_our_views(lambda path: fetched(f"{pages}{path}").decode())
