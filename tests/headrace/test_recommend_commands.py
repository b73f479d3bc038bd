"""`headrace recommend`: files into records, records into a state, and what may rank."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.recommend import replayed
from headrace.recommend_promotion import crown
from headrace.recommend_train import ADOPTIONS, rows_of, train_ranker
from headrace.settings import Settings
from scoring.live_models import registry_of
from scoring.ranked_features import DEFINITION_HASH, ITEM_NAMES, NAME, NAMES, VISITOR_NAMES
from scoring.recommender_report import REPORT_KEY, Clicks, RecommenderReport
from scoring.recommender_snapshot import SnapshotStore
from scoring.sequenced import RecommenderState
from stream.connection import RedisConnection
from stream.interaction_file import Columns, FileError, read_actions, read_items
from stream.log import Partition
from stream.records import Action, Shown, Slate
from stream.redis_log import RedisLog
from stream.sequence import START, Sequence
from training.recorded_shop import RecordedShop
from training.replayed_slates import replayed_slates
from training.slate_rows import SlateRows

Run = Callable[..., Result]
DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def redis(redis_url: str) -> Iterator[str]:
    url = redis_url.replace("/0", "/6", 1)
    with RedisConnection(url) as connection:
        connection.one("FLUSHDB")
    yield url


@pytest.fixture
def run(redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HEADRACE_REDIS", redis)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEADRACE_PARTITIONS", "2")
    return lambda *words: CliRunner().invoke(main, ["recommend", *map(str, words)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty visitors of two tastes, each with thirty of sixty items."""
    chance = random.Random(3)
    lines = ["user_id,item_id,timestamp,event,price"]
    for number in range(1200):
        user = number % 40
        item = chance.randrange(30) * 2 + (user % 2 if chance.random() < 0.9 else 1 - user % 2)
        at = int(DAY.timestamp()) + number * 60
        lines.append(f"u{user},i{item},{at},{chance.choice(['view', 'view', 'purchase'])},1.5")
    path = tmp_path / "interactions.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    lines = ["item_id|title|category|price"] + [f"i{n}|Thing {n}|kind {n % 4}|{n}.5" for n in range(60)]
    path = tmp_path / "items.csv"
    path.write_text("\n".join(lines))
    return path


def digest_of(said: str) -> str:
    found = re.search(r"digest +([0-9a-f]{64})", said)
    assert found, said
    return found[1]


# Files


@pytest.mark.parametrize(
    ("cell", "unit"),
    [("1772323200", "seconds"), ("1772323200000", "ms"), ("1772323200000000", "us"), ("1772323200000000000", "ns")],
)
def test_numbers_are_times_by_their_size(tmp_path: Path, cell: str, unit: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"user,item,time\nu,i,{cell}\n")
    assert [one.event_timestamp for one in read_actions(path)] == [DAY], unit


@pytest.mark.parametrize("cell", ["2026-03-01T00:00:00Z", "2026-03-01 01:00:00+01:00", "2026-03-01"])
def test_texts_are_times_too(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"who,what,when\nu,i,{cell}\n")
    found = list(read_actions(path, Columns(user="who", item="what", time="when")))
    assert [(one.user_id, one.item_id, one.action, one.event_timestamp) for one in found] == [("u", "i", "view", DAY)]


def test_rows_come_by_time_and_a_rating_is_one(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\nb\t2\t4\t90\na\t1\t3.5\t80\n")
    found = [(one.user_id, one.item_id, one.action, one.value) for one in read_actions(path)]
    assert found == [("a", "1", "rating", 3.5), ("b", "2", "rating", 4.0)]


def test_a_shops_log_of_orders_is_read_as_it_is(tmp_path: Path) -> None:
    path, catalogue = tmp_path / "orders.csv", tmp_path / "goods.csv"
    path.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,UK\n"
        "536366,22633,WARMER,6,2010-12-01 08:28:00,1.85,,UK\n"
        "536366,22633,WARMER,6,2010-12-01 08:28:00,1.85,,UK\n"
        "536367,22633,WARMER,6,2010-12-01 08:28:00,1.85,,UK\n"
    )
    catalogue.write_text("Stock Code,Description,Unit-Price\n22633,WARMER,1.85\n")
    found = list(read_actions(path, Columns(kind="purchase")))
    assert [(one.user_id, one.session_id, one.item_id, one.action, one.value) for one in found] == [
        ("17850", "536365", "85123A", "purchase", None),
        ("session:536366", "536366", "22633", "purchase", None),
        ("session:536366", "536366", "22633", "purchase", None),
        ("session:536367", "536367", "22633", "purchase", None),
    ]
    ids = [one.event_id for one in found]
    assert ids[1] == ids[2] and len(set(ids)) == 3, "the same row is one event; another order is another"
    (item,) = read_items(catalogue, DAY)
    assert (item.item_id, item.title, item.price) == ("22633", "WARMER", 1.85)


def test_what_a_user_did_is_the_same_event_in_whatever_visit(tmp_path: Path) -> None:
    ids = set()
    for header, row in (("user,item,time", "u,i,1"), ("user,item,time,session_id", "u,i,1,s")):
        path = tmp_path / "x.csv"
        path.write_text(f"{header}\n{row}\n")
        ids |= {one.event_id for one in read_actions(path)}
    assert len(ids) == 1


def test_rows_that_lack_a_visitor_an_item_or_a_time_are_left_out_where_that_is_wished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("user,item,time\n,i,1\nu,,1\nu,i,soon\nu,i,1\n,j,2\n")
    with caplog.at_level(logging.WARNING):
        found = list(read_actions(path, Columns(skip=True)))
    assert [(one.user_id, one.item_id) for one in found] == [("u", "i")]
    assert sorted(record.getMessage() for record in caplog.records) == [
        "x.csv: 1 rows that have no item were left out",
        "x.csv: 1 rows that have no readable time were left out",
        "x.csv: 2 rows that have no user were left out",
    ]


def test_parquet_is_read_with_its_own_times(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    row = "SELECT 'u' AS user, 7 AS item, TIMESTAMP '2026-03-01 00:00:00' AS ts"
    duckdb.execute(f"COPY ({row}) TO '{path}' (FORMAT parquet)")
    assert [(one.item_id, one.event_timestamp) for one in read_actions(path)] == [("7", DAY)]


def test_the_first_of_several_categories_is_the_category_and_all_are_tags(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("movieId,title,genres\n1,Alien,Horror|Sci-Fi\n")
    (item,) = read_items(path, DAY)
    assert (item.title, item.category, item.tags) == ("Alien", "Horror", ["Horror", "Sci-Fi"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("who,item,time\nu,i,1\n", "no column of x.csv is the user; it has who, item, time: name one with --user"),
        ("user,item,time\nu,,1\n", "row 1 of x.csv has no item"),
        (
            "user,item,time\n,i,1\n",
            "row 1 of x.csv has no user; name the column of its session or order with --session",
        ),
        ("CustomerID,InvoiceNo,item,time\n,,i,1\n", "row 1 of x.csv has no user"),
        ("user,item,time\nu,i,1\nu,i,soon\n", "row 2 of x.csv has no readable time"),
        ("user,item,time,value\nu,i,1,much\n", "the value 'much', which is no number"),
        (f"user,item,time\n{'u' * 200},i,1\n", "row 1 of x.csv: field 'user_id'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_the_remedy(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(FileError, match=re.escape(says)):
        list(read_actions(path))


def test_a_named_column_that_is_not_there_is_named(run: Run, data: Path) -> None:
    said = run("digest", "--data", data, "--user", "visitor")
    assert said.exit_code == 1
    assert "interactions.csv has no column 'visitor'; it has user_id, item_id" in said.output


# Loading


def test_a_file_goes_into_the_log_in_its_order(run: Run, data: Path, catalogue: Path, redis: str) -> None:
    said = run("load", "--data", data, "--catalogue", catalogue)
    assert "1,260 records into the log" in said.output
    with closing(RedisLog(redis, partitions=2)) as log:
        counts = [len(log.read(Partition(topic, n), 0, 5000)) for topic in ("actions", "items") for n in (0, 1)]
    assert sum(counts) == 1260


def test_a_file_goes_into_the_sequence_once_however_often_it_is_loaded(
    run: Run, data: Path, catalogue: Path, redis: str
) -> None:
    words = ("load", "--data", data, "--catalogue", catalogue, "--to", "sequence")
    assert "1,260 records into the sequence" in run(*words).output
    assert "0 records into the sequence" in run(*words).output
    with RedisConnection(redis) as connection:
        assert Sequence(connection).count == 1260


def test_the_same_records_give_the_same_digest_by_file_and_by_sequence(run: Run, data: Path, catalogue: Path) -> None:
    by_file = run("digest", "--data", data, "--catalogue", catalogue).output
    assert run("digest", "--data", data, "--catalogue", catalogue).output == by_file
    run("load", "--data", data, "--catalogue", catalogue, "--to", "sequence")
    assert run("digest").output == by_file
    assert "1,260: 1,200 learned, 60 item" in by_file
    assert digest_of(run("digest", "--data", data).output) != digest_of(by_file)


def test_nothing_to_load_and_no_redis_are_said(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "give --data FILE, or --catalogue FILE" in run("load").output
    assert "there is no report yet; run 'headrace recommend learn'" in run("show").output
    monkeypatch.setenv("HEADRACE_REDIS", "")
    assert "give --redis redis://" in run("load", "--data", data).output
    assert "give --redis redis://" in run("digest").output


def test_show_prints_what_the_learner_said(run: Run, redis: str) -> None:
    report = RecommenderReport(
        number=12, behind=3, items=4, visitors=5, entries={"learned": 9}, hit_rate=0.25, hits_over=8,
        by_source={"trending": Clicks(40, 3)},
    )  # fmt: skip
    with RedisConnection(redis) as connection:
        connection.one("SET", REPORT_KEY, msgspec.json.encode(report))
    said = run("show").output
    assert "12, 3 behind: 9 learned" in said
    assert "25.0% of 8, in ten" in said
    assert "3 of 40 acted on (7.50%)" in said
    assert msgspec.json.decode(run("show", "--json").output, type=RecommenderReport) == report


# Training


def test_a_batch_fit_is_adopted_through_the_sequence(run: Run, data: Path, redis: str, tmp_path: Path) -> None:
    run("load", "--data", data, "--to", "sequence")
    before = digest_of(run("digest").output)
    said = run("train", "--data", data, "--only", "batch")
    assert said.exit_code == 0, said.output
    version = re.search(r"batch fit (\S+) is in the sequence", said.output)
    assert version
    assert (tmp_path / "home" / "recommendation" / f"batch-{version[1]}.bin").exists()
    state = replayed(Settings({"redis": redis}))
    assert (state.adopted, state.counts.adopted) == (version[1], 1)
    assert state.digest() != before
    with RedisConnection(redis) as connection:
        assert Sequence(connection).marks()[ADOPTIONS] == 0


def test_where_nothing_was_recorded_nothing_is_trained(run: Run) -> None:
    said = run("train")
    assert said.exit_code == 1
    assert "there is no archive in" in said.output
    assert "run 'headrace recommend train'" in run("promote", "--by", "ana").output


def shop_of(data: Path, catalogue: Path) -> RecordedShop:
    return RecordedShop.of([*read_items(catalogue, DAY), *read_actions(data)])


def test_past_moments_give_rows_as_they_would_have_been_served(data: Path, catalogue: Path) -> None:
    shop = shop_of(data, catalogue)
    rows = replayed_slates(shop, slates=60)
    again = replayed_slates(shop, slates=60)
    assert rows.feature_names == (*VISITOR_NAMES, *ITEM_NAMES, *NAMES[len(VISITOR_NAMES) + len(ITEM_NAMES) :])
    assert np.array_equal(rows.X, again.X, equal_nan=True)
    assert 20 <= len(set(rows.slate.tolist())) <= 60
    assert 0.0 < rows.y.mean() < 0.9
    # Who comes has been here before: his clicks of the last day are in the vector, and none of the future.
    counts = rows.X[:, VISITOR_NAMES.index("user_count_30d")]
    assert 1 <= np.nanmin(counts) <= np.nanmax(counts) <= 30


def a_slate(number: int, clicked: int, at: datetime) -> tuple[Slate, Action]:
    """Ten items; the one that is clicked has the largest value of one item feature, mostly."""
    chance = random.Random(number)
    vectors = [[chance.random() for _ in NAMES[len(VISITOR_NAMES) :]] for _ in range(10)]
    vectors[clicked][0] = 1.0 + chance.random()
    slate = Slate(
        event_id=f"s{number}",
        event_timestamp=at,
        user_id=f"u{number % 50}",
        items=[Shown(f"i{place}", 0.5, "trending", "", vector=[*vectors[place]]) for place in range(10)],
        vector=[0.0] * len(VISITOR_NAMES),
        definition_hash=DEFINITION_HASH,
    )
    action = Action(
        event_id=f"c{number}",
        event_timestamp=at + timedelta(seconds=20),
        action="click",
        user_id=slate.user_id,
        item_id=f"i{clicked}",
        slate_id=slate.event_id,
    )
    return slate, action


def a_shop(count: int) -> RecordedShop:
    pairs = [a_slate(number, number * 7 % 10, DAY + timedelta(minutes=number)) for number in range(count)]
    return RecordedShop.of([record for pair in pairs for record in pair])


def test_logged_slates_teach_once_they_had_time_to_be_acted_on() -> None:
    shop = a_shop(700)
    rows = rows_of(shop)
    assert len(rows.y) == 10 * (700 - 60)
    assert (rows.y.reshape(-1, 10).sum(axis=1) == 1).all()
    assert rows.place[:10].tolist() == list(range(1, 11))
    hide = Action(
        event_id="h", event_timestamp=DAY, action="hide", user_id="u", item_id="i1", slate_id="s1"
    )  # not wanted
    assert ("s1", "i1") not in RecordedShop.of([hide]).acted
    old = msgspec.structs.replace(shop.slates[0], event_id="old", definition_hash="other")
    assert RecordedShop.of([old]).other_definition == 1


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, SlateRows]:
    """A home with one ranker, the champion, and the rows that taught it."""
    settings = Settings({"home": tmp_path_factory.mktemp("home")})
    rows = rows_of(a_shop(760))
    assert train_ranker(settings, rows, promote=True, by="ana", why="the first") == 0
    return settings, rows


def test_a_ranker_that_beats_the_blend_on_later_slates_is_the_champion(ranked: tuple[Settings, SlateRows]) -> None:
    settings, _ = ranked
    registry = registry_of(settings.home)
    (change,) = registry.history(NAME)
    assert (change.alias, change.by, change.why) == ("champion", "ana", "the first")
    assert change.gates["better"].startswith("passed: nDCG@10 is higher than that of the blend by")
    assert registry.load(NAME, change.version or "").manifest.feature_names == NAMES


def test_an_equal_ranker_is_refused_unless_forced_with_a_reason_and_can_be_rolled_back(
    ranked: tuple[Settings, SlateRows], capsys: pytest.CaptureFixture[str]
) -> None:
    settings, rows = ranked
    registry = registry_of(settings.home)
    first = registry.resolve(NAME)
    manifest = registry.manifest(NAME, first)
    later = msgspec.structs.replace(manifest, version="equal", created_at=manifest.created_at + timedelta(days=1))
    newest = registry.register(registry.content(NAME, first)[0], later)
    assert crown(settings, newest, rows, by="ana", why="", dry_run=True) == 1
    with pytest.raises(Exception, match="is not promoted"):
        crown(settings, newest, rows, by="ana", why="")
    assert registry.resolve(NAME) == first
    assert crown(settings, newest, rows, by="ana", why="a trial", force=True) == 0
    assert registry.resolve(NAME) == newest
    said = CliRunner().invoke(main, ["recommend", "rollback", "--by", "ben", "--home", str(settings.home)])
    assert f"{NAME} {first} is the champion again" in said.output
    refused = CliRunner().invoke(main, ["models", "rollback", NAME, "--by", "b", "--home", str(settings.home)])
    assert "headrace recommend promote" in refused.output


def test_snapshots_and_the_sequence_hold_the_same_state_as_the_file(run: Run, data: Path, redis: str) -> None:
    run("load", "--data", data, "--to", "sequence")
    with RedisConnection(redis) as connection:
        state = replayed(Settings({"redis": redis}))
        SnapshotStore(connection).save(state)
        newest = SnapshotStore(connection).newest()
        assert newest is not None
        assert newest.position != START
    assert newest.digest() == digest_of(run("digest", "--data", data).output)
    assert RecommenderState().digest() != newest.digest()
