"""Widgets: what a signed address shows, and that no other shows anything."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from httpx import Response

from headrace.cli import main
from review.case_store import CaseStore
from review.collector import Collector
from review.refusals import Refused
from review.series import Series
from review.series_history import SeriesHistory
from review.web import widget_page
from review.web.app import make_app
from review.web.pace import Rate
from review.widget_content import ArmClicks, lift_of
from review.widget_keys import DeploymentSecret, NoWidgetSecret, WidgetKeys
from review.widget_link import InvalidLink, origins
from tests.review.documented import documented
from tests.review.flagged import HOSTILE, flagged
from tests.review.made_up_service import MadeUpService
from tests.review.office import NOON, Desk, Office

SHOP = "https://shop.example"
NOON_S = NOON.timestamp()
SIGNED = documented("signed")
"""As the documentation has it, to be copied."""


class Host:
    """An application with a key, which signs as the documentation says and knows nothing else of us."""

    def __init__(self, folder: Path) -> None:
        self.office = Office(folder / "review.sqlite")
        self.service = MadeUpService(NOON_S - 600.0, per_s=5.0)
        collector = Collector(self.service, Series(), clock=lambda: self.service.at_s)
        keys = WidgetKeys(self.office.cases.database, DeploymentSecret(folder))
        history = SeriesHistory(collector.series)
        self.office.parts = replace(self.office.parts, collector=collector, series=history, widgets=keys)
        self.office.app = make_app(self.office.parts)
        self.keys, self.collector = keys, collector
        self.key, self.secret = keys.make("shop", "ada", NOON)
        self.stranger = self.office.desk("vic", "viewer")
        self.stranger.client.cookies.clear()

    def path(self, kind: str, secret: str = "", **parameters: str) -> str:
        given = {"key": self.key.key_id, "expires": str(int(NOON_S) + 60), "ancestors": SHOP} | parameters
        return str(SIGNED(kind, given, secret or self.secret))

    def get(self, path: str, **headers: str) -> Response:
        return self.stranger.get(path, **headers)

    def json(self, kind: str, **parameters: str) -> dict[str, Any]:
        answer = self.get(self.path(kind, **parameters).replace("?", ".json?", 1))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def run(self, looks: int) -> None:
        for _ in range(looks):
            self.service.pass_s(10.0)
            self.collector.tick()

    def close(self) -> None:
        self.office.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with closing(Host(tmp_path_factory.mktemp("widgets"))) as made:
        made.office.cases.take_in(flagged(12, NOON, cards=2), {})
        yield made


@pytest.fixture
def entity(host: Host) -> str:
    return host.office.cases.queue(1, now=NOON)[0].entity


def test_an_entitys_risk_is_shown_to_whoever_has_the_address_and_can_be_framed_by_its_origins_alone(
    host: Host, entity: str
) -> None:
    two = f"{SHOP} http://localhost:8080"
    answer = host.get(host.path("entity-risk", entity=entity, ancestors=two, theme="dark"))
    assert answer.status_code == 200
    assert entity in answer.text and "<rect" in answer.text and 'data-theme="dark"' in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.split("; ").count(f"frame-ancestors {two}") == 1
    assert "'none'" not in policy.split("frame-ancestors")[1].split(";")[0] and "script-src 'self'" in policy
    assert "x-frame-options" not in answer.headers
    assert "set-cookie" not in answer.headers
    for path in ("/sign-in", "/static/style.css"):
        other = host.get(path)
        assert "frame-ancestors 'none'" in other.headers["content-security-policy"]
        assert other.headers["x-frame-options"] == "DENY"


def test_the_json_behind_it_has_the_cases_and_no_name_of_an_analyst(host: Host, entity: str) -> None:
    case = host.office.cases.queue(1, now=NOON)[0]
    before = host.json("entity-risk", entity=case.entity)
    assert (before["open"], before["fraud"]) == (1, 0)
    assert before["gravest_open_score"] == pytest.approx(case.score)
    assert [one["outcome"] for one in before["events"]] and before["events"][-1]["amount"] > 0
    host.office.cases.decide(case.case_id, "fraud", "ann.secret", NOON)
    after = host.json("entity-risk", entity=case.entity)
    assert (after["open"], after["fraud"], after["gravest_open_score"]) == (0, 1, None)
    assert "ann.secret" not in json.dumps(after)
    host.office.cases.reopen(case.case_id, "ann.secret", NOON)


def test_a_changed_expired_or_foreign_address_is_refused_with_the_reason_and_no_frame(host: Host, entity: str) -> None:
    good = host.path("entity-risk", entity=entity)
    changed = "the signature is not right"
    wrong = {
        good.replace(f"entity={entity}", "entity=other"): changed,
        good.replace("shop.example", "evil.example"): changed,
        good.replace("/entity-risk", "/flag-trend"): changed,
        good + "&span=day": changed,
        good[:-1] + ("0" if good[-1] != "0" else "1"): changed,
        good.partition("&signature")[0]: changed,
        host.path("entity-risk", "not the secret", entity=entity): changed,
        host.path("entity-risk", entity=entity, key="0" * 12): changed,
    }
    for path, words in wrong.items():
        answer = host.get(path)
        assert (answer.status_code, words in answer.text) == (403, True), path
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert entity not in answer.text
    expired = host.get(host.path("entity-risk", entity=entity, expires=str(int(NOON_S))))
    assert (expired.status_code, "has expired" in expired.text) == (403, True)
    assert f"frame-ancestors {SHOP}" in expired.headers["content-security-policy"]
    for_ever = host.get(host.path("entity-risk", entity=entity, expires=str(int(NOON_S) + 30 * 86400)))
    assert (for_ever.status_code, "more than 7 days" in for_ever.text) == (403, True)


def test_what_is_signed_but_cannot_be_shown_says_what_is_wrong(host: Host) -> None:
    assert "lacks &#39;entity&#39;" in host.get(host.path("entity-risk")).text
    assert "no span" in host.get(host.path("flag-trend", span="year")).text
    assert host.get("/widgets/secrets?key=1").status_code == 400
    assert host.get(host.path("flag-trend") + "&key=twice").status_code == 400
    assert "/sign-in" in str(host.stranger.client.post(host.path("flag-trend")).url)


@pytest.mark.parametrize("text", ["", "*", "shop.example", "https://a.example;script-src", "https://*.a.example"])
def test_what_is_no_plain_origin_never_gets_into_a_header(text: str) -> None:
    with pytest.raises(InvalidLink):
        origins(text)
    with pytest.raises(InvalidLink):
        origins("https://good.example " * 11)


def test_a_revoked_key_ends_what_it_signed_at_once(host: Host, entity: str) -> None:
    key, secret = host.keys.make("old app", "ada", NOON)
    path = host.path("entity-risk", secret, key=key.key_id, entity=entity)
    assert host.get(path).status_code == 200
    with pytest.raises(Refused):
        host.keys.make("old app", "ada", NOON)
    host.keys.revoke("old app", "ada", NOON)
    answer = host.get(path)
    assert (answer.status_code, "was revoked" in answer.text) == (403, True)
    assert [one.name for one in host.keys.all()][-1] == "old app"


def test_neither_the_database_nor_another_deployment_can_sign(host: Host, tmp_path: Path) -> None:
    path = Path(str(host.office.cases.database.engine.url.database))
    content = b"".join(file.read_bytes() for file in path.parent.glob("review.sqlite*"))
    assert host.key.key_id.encode() in content and host.secret.encode() not in content
    elsewhere = WidgetKeys(host.office.cases.database, DeploymentSecret(tmp_path))
    assert elsewhere.secret_of(host.key.key_id) != host.secret
    assert (tmp_path / "widget.key").stat().st_mode & 0o077 == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "widget.key").write_text("short")
    with pytest.raises(NoWidgetSecret, match="holds no secret"):
        DeploymentSecret(tmp_path / "other")()


def test_flags_are_counted_by_the_minute_and_their_share_is_told(host: Host) -> None:
    host.run(12)
    for _ in range(30):
        host.service.score(outcome="decline")
    host.run(30)
    found = host.json("flag-trend", span="hour")
    assert len(found["steps"]) == 60 and found["step_s"] == 60
    known = [one for one in found["steps"] if one["decline"] is not None]
    assert 4 <= len(known) <= 10
    assert 15 < sum(one["decline"] for one in known) < 80
    assert 0.0 < found["share"] < 1.0
    page = host.get(host.path("flag-trend", span="hour")).text
    assert "b-decline" in page and "flags a minute" in page
    assert host.json("flag-trend", span="week")["step_s"] == 3600


def test_lift_is_what_models_earn_beside_trending_and_random_items(host: Host) -> None:
    counts = {"factors": (0, 0), "trending": (0, 0), "explored": (0, 0)}
    for shown, acted in ((0, 0), (1000, 100), (2000, 220)):
        for source, times in (("factors", 1.0), ("trending", 0.5), ("explored", 0.1)):
            counts[source] = (shown, round(acted * times))
            for what, value in zip(("shown", "acted"), counts[source], strict=True):
                host.service.set("headrace_recommender_shown", float(value), by="source", name=source, what=what)
        host.run(1)
    found = host.json("recommendation-lift", span="hour")
    assert [(one["arm"], one["shown"], one["acted"]) for one in found["arms"]] == [
        ("model", 2000, 220),
        ("trending", 2000, 110),
        ("random", 2000, 22),
    ]
    assert [(one["over"], round(one["times"], 1)) for one in found["lifts"]] == [("trending", 2.0), ("random", 10.0)]
    assert all(one["low"] < one["times"] < one["high"] for one in found["lifts"])
    assert "×2.00" in host.get(host.path("recommendation-lift", span="hour")).text


def test_without_clicks_there_is_no_lift_and_with_nothing_collected_a_widget_says_so(tmp_path: Path) -> None:
    none = ArmClicks(arm="random", shown=10, acted=0, share=0.0, low=0.0, high=0.3)
    assert lift_of(none, none) is None
    with closing(Host(tmp_path)) as host:
        for kind, words in (("flag-trend", "Nobody has counted"), ("recommendation-lift", "Nothing was recommended")):
            assert words in host.get(host.path(kind, span="day")).text
        assert "was ever flagged" in host.get(host.path("entity-risk", entity=HOSTILE)).text
        assert "<script>alert" not in host.get(host.path("entity-risk", entity=HOSTILE)).text


def test_a_script_of_the_named_origin_may_read_the_json_and_no_other(host: Host) -> None:
    path = host.path("flag-trend").replace("?", ".json?", 1)
    assert host.get(path, origin=SHOP).headers["access-control-allow-origin"] == SHOP
    assert "access-control-allow-origin" not in host.get(path, origin="https://evil.example").headers


def test_a_flood_is_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widget_page, "ADDRESS_RATE", Rate(per_s=0.01, burst=3.0))
    with closing(Host(tmp_path)) as host:
        statuses = [host.get("/widgets/flag-trend?key=1").status_code for _ in range(5)]
        assert statuses == [403, 403, 403, 429, 429]


def test_a_lead_signs_a_link_sees_it_and_only_an_admin_makes_keys(host: Host, entity: str) -> None:
    lead = host.office.desk("lea", "lead")
    assert not _asks(lead, "/widgets").has_form("/widgets/keys")
    page = lead.send(
        "/widgets", kind="entity-risk", entity=entity, ancestors=SHOP, key=host.key.key_id, hours="24", theme="light"
    ).text
    preview = page.partition('<iframe src="')[2].partition('"')[0].replace("&amp;", "&")
    shown = host.get(preview)
    assert shown.status_code == 200
    assert "frame-ancestors http://localhost;" in shown.headers["content-security-policy"]
    assert "https%3A%2F%2Fshop.example" in page and entity not in str(host.keys.made())
    refused = _asks(lead, "/widgets").send(
        "/widgets", 422, kind="entity-risk", entity=entity, ancestors="*", key=host.key.key_id, hours="24"
    )
    assert "is no origin" in refused.text
    assert host.office.desk("ann", "analyst").get("/widgets").status_code == 403
    admin = _asks(host.office.desk("ada", "admin"), "/widgets")
    made = admin.send("/widgets/keys", name="back office").text
    key = next(one for one in host.keys.all() if one.name == "back office")
    assert host.keys.secret_of(key.key_id) in made
    assert host.keys.secret_of(key.key_id) not in admin.get("/widgets").text


def _asks(desk: Desk, path: str) -> Desk:
    desk.get(path)
    return desk


def test_an_address_does_not_outlive_its_hour(host: Host, entity: str) -> None:
    path = host.path("entity-risk", entity=entity)
    host.office.pass_time(seconds=61)
    try:
        assert host.get(path).status_code == 403
    finally:
        host.office.now = NOON
    assert host.get(path).status_code == 200


def test_commands_make_keys_and_addresses_and_end_them(tmp_path: Path) -> None:
    environment = {"HEADRACE_HOME": str(tmp_path), "HEADRACE_REVIEW_URL": "https://review.example.org"}

    def said(*words: str, status: int = 0) -> str:
        found = CliRunner().invoke(main, ["review", *words], env=environment)
        assert found.exit_code == status, found.output
        return found.output

    made = dict(line.split() for line in said("widget-key", "make", "shop").splitlines()[:2])
    url = ("widget-url", "flag-trend", "--key", "shop", "--ancestor", SHOP, "--span", "day", "--theme", "dark")
    link = said(*url).splitlines()[0]
    assert link.startswith("https://review.example.org/widgets/flag-trend?ancestors=https%3A%2F%2Fshop.example&")
    text, _, signature = link.partition("?")[2].rpartition("&signature=")
    expected = hmac.new(made["secret"].encode(), f"headrace-widget-1\nflag-trend\n{text}".encode(), hashlib.sha256)
    assert signature == expected.hexdigest()
    assert made["secret"] not in said("widget-key", "list", "--json")
    assert "is no origin" in said(*url[:5], "*", status=1)
    said("widget-key", "revoke", "shop")
    assert "no key 'shop'" in said(*url, status=1)


def test_keys_are_kept_on_either_database(store: CaseStore, tmp_path: Path) -> None:
    keys = WidgetKeys(store.database, DeploymentSecret(tmp_path, "a secret of the deployment"))
    key, secret = keys.make("shop", "ada", NOON)
    assert secret == keys.secret_of(key.key_id)
    assert [keys.standing(one) for one in (key.key_id, "0" * 12)] == ["good", "unknown"]
    keys.note(key.key_id, "flag-trend", [SHOP], NOON, "lea", NOON)
    assert keys.made() == [(NOON, "lea", "flag-trend", SHOP)]
    assert keys.revoke("shop", "ada", NOON).revoked_by == "ada"
    assert keys.standing(key.key_id) == "revoked"
    with pytest.raises(Refused, match="no key 'shop'"):
        keys.revoke("shop", "ada", NOON)
