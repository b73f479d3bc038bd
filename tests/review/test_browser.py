"""The queue and its cases as analysts use them: by keyboard, several at once, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

playwright_api = pytest.importorskip("playwright.sync_api", reason="needs the extra 'dev'")

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright  # noqa: E402

from headrace.rule_trial import ArchiveTrial  # noqa: E402
from review.collector import Collector  # noqa: E402
from review.series import Series  # noqa: E402
from review.series_history import SeriesHistory  # noqa: E402
from review.web.app import make_app  # noqa: E402
from review.widget_keys import DeploymentSecret, WidgetKeys  # noqa: E402
from review.widget_link import signed_path  # noqa: E402
from stream.archive import Archive  # noqa: E402
from stream.archive_sql import ArchiveSql  # noqa: E402
from stream.log import Entry, Partition  # noqa: E402
from stream.records import encode  # noqa: E402
from tests.review.browsing import WAIT_MS, World, launched  # noqa: E402
from tests.review.flagged import HOSTILE, flagged, hostile  # noqa: E402
from tests.review.host_page import host_page  # noqa: E402
from tests.review.made_up_service import MadeUpService  # noqa: E402
from tests.review.office import Office  # noqa: E402
from tests.review.rule_office import add_rules, decide_some  # noqa: E402
from tests.until import LIMIT_S, until  # noqa: E402

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = launched(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def serving(browser: Browser) -> Iterator[World]:
    world = World(browser)
    world.serve()
    yield world
    world.stop()


@pytest.fixture
def world(serving: World, tmp_path: Path) -> Iterator[World]:
    office = serving.begin(tmp_path)
    office.cases.take_in(flagged(30, office.now, cards=30), {})
    yield serving
    serving.end()


@pytest.fixture
def office(world: World) -> Office:
    assert world.office is not None
    return world.office


def ids(office: Office) -> list[str]:
    return [case.case_id for case in office.cases.queue(50, now=office.now)]


def row(page: Page, case_id: str) -> Locator:
    return page.locator(f"#c-{case_id}")


def at_case(page: Page, case_id: str) -> None:
    expect(page.locator(f'#case[data-case="{case_id}"]')).to_be_visible()


def test_a_queue_is_worked_through_by_keyboard_alone(world: World, office: Office) -> None:
    first, second, third, fourth, *_ = ids(office)
    page = world.page("ann", "/review")
    page.keyboard.press("j")
    expect(row(page, first)).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(row(page, second)).to_be_focused()
    page.keyboard.press("Enter")
    at_case(page, second)
    expect(page).to_have_url(re.compile(f"/review/cases/{second}$"))
    page.keyboard.press("c")
    expect(page.locator("#release")).to_be_visible()
    assert office.cases.case(second).holder(office.now) == "ann"
    page.keyboard.press("f")
    at_case(page, third)
    expect(page.locator("#toast")).to_contain_text("fraud")
    assert office.cases.case(second).verdict == "fraud"
    assert office.cases.case(third).holder(office.now) == "ann"
    page.keyboard.press("u")
    at_case(page, second)
    assert office.cases.case(second).status == "open"
    page.keyboard.press("l")
    at_case(page, third)
    page.keyboard.press("o")
    at_case(page, fourth)
    assert [office.cases.case(one).verdict for one in (first, second, third)] == [None, "legit", "unknown"]
    page.keyboard.press("s")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: f"cases/{fourth}" not in url)
    assert office.cases.case(fourth).is_snoozed(office.now)
    assert world.trouble == []


def test_keys_do_nothing_while_one_types_and_an_overlay_names_them(world: World, office: Office) -> None:
    first, *_ = ids(office)
    page = world.page("ann", f"/review/cases/{first}")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("fluce")
    page.keyboard.press("Escape")
    expect(page.locator("#search")).not_to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.locator("#note").fill("found it")
    page.locator("#note").press("f")
    assert office.cases.case(first).status == "open"
    assert office.cases.notes(first) == []
    assert world.trouble == []


def test_several_cases_are_selected_and_decided_at_once(world: World, office: Office) -> None:
    first, second, third, *_ = ids(office)
    page = world.page("ann", "/review")
    for key in "jxjx":
        page.keyboard.press(key)
    expect(page.locator("#bulk-bar .count")).to_have_text("2 selected")
    page.keyboard.press("f")
    expect(page.locator("#toast")).to_contain_text("2 cases: fraud")
    expect(row(page, first)).to_have_count(0)
    assert [office.cases.case(one).verdict for one in (first, second, third)] == ["fraud", "fraud", None]
    page.keyboard.press("u")
    expect(row(page, first)).to_be_visible()
    assert office.cases.case(second).status == "open"
    assert world.trouble == []


def test_two_analysts_see_each_other_and_one_case_has_one_verdict(world: World, office: Office) -> None:
    first, second, *_ = ids(office)
    ann, bob = world.page("ann", f"/review/cases/{first}"), world.page("bob", f"/review/cases/{first}")
    ann.keyboard.press("c")
    expect(ann.locator("#release")).to_be_visible()  # or her next key would come while this one is on its way
    expect(bob.locator("#case")).to_contain_text("ann is working on this case")
    expect(bob.locator(f'li[data-case="{first}"] .held')).to_have_text("an")
    expect(bob.locator('.acts button[value="fraud"]')).to_be_disabled()
    bob.keyboard.press("f")
    bob.keyboard.press("n")
    at_case(bob, second)
    ann.keyboard.press("f")
    expect(row(bob, first)).to_have_count(0)
    assert office.cases.case(first).decided_by == "ann"
    assert [one.deed for one in office.cases.audit(first)][1:] == ["claimed", "decided"]
    assert world.trouble == []


def test_what_is_flagged_appears_by_itself_and_a_verdicts_arrival_is_said(world: World, office: Office) -> None:
    before = ids(office)
    first = before[0]
    page = world.page("ann", f"/review/cases/{first}")
    office.cases.take_in(flagged(1, office.now, cards=1, first=500, over=timedelta(0)), {})
    (new,) = set(ids(office)) - set(before)
    expect(row(page, new)).to_be_visible()
    office.cases.decide(first, "fraud", "bob", office.now)
    expect(page.locator("#case")).to_contain_text("on the way to the models")
    office.cases.mark_sent(office.cases.unsent(10, office.now))
    expect(page.locator("#case")).to_contain_text("arrived on the topic")
    assert world.trouble == []


def test_what_one_has_typed_is_not_lost_when_another_changes_the_case(world: World, office: Office) -> None:
    first, *_ = ids(office)
    page = world.page("ann", f"/review/cases/{first}")
    page.locator("#note").fill("half a thought")
    office.cases.note(first, "somebody else's", "bob", office.now)
    expect(page.locator("#stale")).to_be_visible()
    expect(page.locator("#note")).to_have_value("half a thought")


def test_an_open_page_goes_on_when_the_server_comes_back(world: World, office: Office) -> None:
    first, *_ = ids(office)
    page = world.page("ann", "/review")
    with world.stopped():
        expect(page.locator("#link")).to_have_text("not live")
        office.cases.claim(first, "bob", office.now)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator(f'li[data-case="{first}"] .held')).to_have_text("bo")
    page.keyboard.press("n")
    page.wait_for_url("**/review/cases/*")
    assert [one for one in world.trouble if "ERR_" not in one] == []


def test_no_script_of_a_sender_runs_and_its_words_are_shown(world: World, office: Office) -> None:
    office.cases.take_in([hostile(number, office.now - timedelta(minutes=number)) for number in range(3)], {})
    first = ids(office)[0]
    page = world.page("ann", f"/review/cases/{first}")
    expect(page.locator("#case h2").first).to_contain_text("<script>alert(1)</script>")
    page.locator("#note").fill(HOSTILE)
    page.get_by_role("button", name="Add the note").click()
    expect(page.locator(".log .text")).to_contain_text("<script>alert(1)</script>")
    for name in ("Linked entities", "Nearest past cases"):
        page.get_by_role("heading", name=name).scroll_into_view_if_needed()
    expect(page.locator("section.linked")).to_contain_text("two steps away")
    page.keyboard.press("Escape")
    page.locator("#case h2").first.focus()
    page.keyboard.press("f")
    expect(page.locator("#toast")).to_contain_text("fraud")
    assert page.locator("img, #main script, #main iframe, #main style").count() == 0
    assert world.trouble == []


@pytest.mark.parametrize(("scheme", "checked"), [("light", ("case", "linked")), ("dark", ("case-held",))])
def test_pages_are_clean_to_axe_and_kept_as_pictures(
    world: World, office: Office, scheme: str, checked: tuple[str, ...]
) -> None:
    first, second, *_ = ids(office)
    office.cases.claim(second, "bob", office.now)
    page = world.page("ann", "/review", scheme=scheme)
    found = {}
    world.keep(page, f"queue-{scheme}")
    paths = {"case": first, "case-held": second, "linked": f"{first}/linked"}
    for name in checked:
        page.goto(f"http://localhost:{world.port}/review/cases/{paths[name]}")
        world.keep(page, f"{name}-{scheme}")
        violations = Axe().run(page).response["violations"]
        found[name] = [(one["id"], one["nodes"][0]["html"][:120]) for one in violations]
    assert found == {name: [] for name in checked}


def test_a_phone_shows_one_pane_and_nothing_wider_than_itself(world: World, office: Office) -> None:
    first, *_ = ids(office)
    page = world.page("ann", "/review", width=390)
    world.keep(page, "queue-phone")
    expect(page.locator("#case")).to_be_hidden()
    row(page, first).click()
    at_case(page, first)
    expect(page.locator("#queue")).to_be_hidden()
    world.keep(page, "case-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("link", name=re.compile("Queue$")).last.click()
    expect(page.locator("#queue")).to_be_visible()


def proposed(page: Page, base: str) -> Page:
    """The page of lists, once somebody alone has put two cards on one that a live rule asks."""
    page.goto(f"{base}/rules/lists?list=deny&field=card_id")
    page.locator("#put-values").fill("card-4711, card-4712")
    page.locator("#put-why").fill("a ring that buys gift cards")
    page.get_by_label("Urgent").press("Space")
    page.get_by_role("button", name="Put on the list").press("Enter")
    expect(page.get_by_role("heading", name="Waiting for another person")).to_be_visible()
    return page


def test_a_rule_is_written_with_completion_backtested_and_kept_as_pictures(
    world: World, office: Office, tmp_path: Path, redis_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = add_rules(office, tmp_path, redis_db, a_day=24)
    decide_some(office)
    page = world.page("ann", "/review")
    base = f"http://localhost:{world.port}"
    page.goto(f"{base}/rules/new")
    expect(page.locator("html[data-words]")).to_be_attached()
    page.locator("#rule-name").fill("large")
    text, words = page.locator("#rule-when"), page.locator("#rule-words")
    text.press_sequentially("amount > 600 and cc1")
    expect(words.get_by_role("option")).to_have_count(4)
    page.keyboard.press("ArrowDown")
    expect(words.locator('[aria-selected="true"]')).to_contain_text("card_count_1h")
    chosen = words.locator('[aria-selected="true"]').get_attribute("id")
    assert chosen and text.get_attribute("aria-activedescendant") == chosen
    page.keyboard.press("Enter")
    expect(text).to_have_value("amount > 600 and card_count_1h")
    page.keyboard.type(" >= 0 or card_id in den")
    expect(words.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator(".code-says")).to_have_text("Understood.")
    page.keyboard.press("Enter")
    page.keyboard.type("and amont > 3 ")
    expect(page.locator(".code-says")).to_contain_text("did you mean 'amount'? (line 2, character 5)")
    expect(page.locator(".code-back mark")).to_have_text("amont")
    found = {"rule-editor": world.pictured(page, "rule-editor")}
    page.goto(f"{base}/rules/new?name=large&when=amount > 600 and card_count_1h >= 0&action=review")
    page.get_by_role("button", name="Save the draft").click()
    page.locator("#backtest-days").select_option(label="all there is")
    page.get_by_role("button", name="Backtest").click()
    # The page goes on by itself when it is done.
    expect(page.get_by_role("button", name="Put it in shadow")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Hits per day"))).to_be_visible()
    assert [(step.do, step.by) for step in desk.steps("large", 9)] == [("backtest", "ann"), ("draft", "ann")]
    found["rule"] = world.pictured(page, "rule")
    # The next one is not done before somebody has begun to type.
    typed, run = Event(), ArchiveTrial.run
    monkeypatch.setattr(ArchiveTrial, "run", lambda trial: run(trial) if typed.wait(LIMIT_S) else None)
    page.get_by_role("button", name="Backtest").click()
    expect(page.locator(".trial-now")).to_be_visible()
    page.locator("#snooze-why").fill("half a thought")
    typed.set()
    expect(page.locator("[data-stale]")).to_be_visible()
    expect(page.locator("#snooze-why")).to_have_value("half a thought")
    page.goto(f"{base}/rules/suggest")
    found["rule-suggested"] = world.pictured(page, "rule-suggested")
    page.goto(f"{base}/rules")
    expect(page.locator("#rules-shown")).not_to_contain_text("being counted")
    found["rules"] = world.pictured(page, "rules")
    found["rule-lists"] = world.pictured(proposed(page, base), "rule-lists")
    desk.close()
    assert found == {name: [] for name in found}
    assert world.trouble == []


def test_a_widget_is_in_its_hosts_frame_alone_and_the_console_answers_by_keyboard(
    world: World, office: Office, tmp_path: Path
) -> None:
    keys = WidgetKeys(office.cases.database, DeploymentSecret(tmp_path))
    key, secret = keys.make("host", "ada", office.now)
    with Archive(tmp_path / "archive") as archive:
        flags = [Entry(number, "k", encode(one)) for number, one in enumerate(flagged(40, office.now, cards=9))]
        archive.write("log", {Partition("decisions", 0): flags})
    console = ArchiveSql(tmp_path / "archive", seconds=WAIT_MS / 1000)
    office.parts = replace(office.parts, widgets=keys, archive=console)
    office.app = make_app(office.parts)
    base, entity = f"http://localhost:{world.port}", office.cases.queue(1, now=office.now)[0].entity
    page = world.page("lea", "/review", role="lead")
    # 1. A page of the signed origin shows it, another does not.
    asked = {"key": key.key_id, "entity": entity, "expires": str(int(office.now.timestamp()) + 3600)}
    with host_page() as host, host_page() as other:
        address = base + signed_path("entity-risk", asked | {"ancestors": host.origin}, secret)
        host.body = other.body = f'<iframe src="{address.replace("&", "&amp;")}"></iframe>'
        for one, shown in ((host, 1), (other, 0)):
            framing = page.context.new_page()
            framing.goto(one.origin)
            expect(framing.frame_locator("iframe").get_by_text(entity)).to_have_count(shown)
            framing.close()
    # 2. A lead makes a link.
    page.goto(f"{base}/widgets")
    page.locator("#entity").fill(entity)
    page.locator("#ancestors").fill("https://backoffice.example.org")
    page.get_by_role("button", name="Sign the link").click()
    expect(page.frame_locator("iframe").get_by_role("heading")).to_have_text("Risk of one entity")
    found = {"widgets": world.pictured(page, "widgets")}
    # 3. The console.
    page.goto(f"{base}/sql")
    page.locator("#sql").fill("SELECT date,\n  scoree FROM decisions")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer")).to_contain_text("Line 2, column 3")
    until(lambda: page.evaluate("getSelection().toString()") == "scoree", "the mistake is selected")
    page.locator("#sql").fill("SELECT outcome, count(*) AS flags FROM decisions GROUP BY outcome")
    page.get_by_label("Chart").check()
    page.locator("#sql").press("Control+Enter")
    expect(page.get_by_role("img", name="flags by outcome")).to_be_visible()
    expect(page.locator("#runs li")).to_have_count(2)
    found["sql"] = world.pictured(page, "sql")
    decide_some(office)
    page.goto(f"{base}/figures")
    found["figures"] = world.pictured(page, "figures")
    assert found == {name: [] for name in found}
    assert [one for one in world.trouble if "frame-ancestors" not in one] == []


def test_the_live_page_draws_its_lines_which_are_read_by_keyboard(world: World, office: Office) -> None:
    service = MadeUpService(office.now.timestamp() - 60.0, per_s=10.0)
    collector = Collector(service, Series(), clock=lambda: service.at_s)
    office.parts = replace(office.parts, collector=collector, series=SeriesHistory(collector.series))
    office.app = make_app(office.parts)
    for _ in range(20):
        service.pass_s(2.0)
        collector.tick()
    page = world.page("vic", "/", role="viewer")
    first = page.locator(".chart").first
    expect(first.locator("canvas")).to_be_visible()
    expect(first.locator(".keys b").first).to_have_text(re.compile(r"^\d.*/s$"))
    first.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#read")).to_contain_text("/s")
    # A page that has heard of nothing for half a minute says so: whoever was slow hears of the next tick.
    service.pass_s(2.0)
    collector.tick()
    expect(page.locator("#link")).to_have_text("live")
    # The clock is set back by an hour: the page reads its charts again, for what it draws has not come yet.
    service.at_s -= 3600.0
    with page.expect_response(lambda answer: "/dashboard/series" in answer.url, timeout=WAIT_MS):
        service.pass_s(2.0)
        collector.tick()
    assert world.trouble == []
