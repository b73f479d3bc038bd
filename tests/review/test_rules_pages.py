"""The pages of rules over a real book and a real archive: who may do what, and what is said where it goes wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
from httpx import Response

from review.case_filter import QueueFilter
from review.rule_desk import RuleRefused
from review.rule_facts import RuleText
from review.web.rule_wording import rule_address
from scoring.rule_log import book_key
from scoring.rule_steps import decode_step
from stream.connection import RedisConnection
from tests.review.flagged import HOSTILE
from tests.review.office import NOON, Desk, Office
from tests.review.rule_office import RuleOffice, decide_some
from tests.review.test_page_safety import Tags
from tests.until import until

WORDS = HOSTILE.replace("\u202e", "")
DECIDED = QueueFilter(status="decided")


@pytest.fixture(scope="module")
def office(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuleOffice]:
    with RedisConnection(redis_url) as connection:
        connection.one("FLUSHALL")
    with closing(RuleOffice(tmp_path_factory.mktemp("rules"), redis_url)) as opened:
        decide_some(opened)
        yield opened


def text_of(page: Response | str) -> str:
    html = page if isinstance(page, str) else page.text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def looked(desk: Desk, path: str, gone: str) -> Response:
    """The page once it says this no longer."""
    until(lambda: gone not in desk.get(path).text, desk.page_text, every_s=0.1)
    assert desk.page is not None
    return desk.page


def done(desk: Desk, page: Response) -> Response:
    """The page of a backtest once it is over."""
    return looked(desk, str(page.url).partition("#")[0].removeprefix("http://localhost"), "/cancel")


def written(desk: Desk, name: str, when: str = "amount > 600", **fields: str) -> Response:
    desk.get("/rules/new")
    return desk.send("/rules/new", 200, **({"name": name, "when": when, "action": "review"} | fields))


def said_by(office: RuleOffice, name: str) -> list[tuple[str, str]]:
    return [(step.do, step.by) for step in office.desk_of_rules.steps(name, 50)[::-1]]


def test_the_book_shows_each_rule_with_what_is_known_of_it(office: RuleOffice) -> None:
    desk = office.desk("vic", "viewer")
    text = text_of(looked(desk, "/rules", "being counted"))
    assert "impossible-travel the card cannot have travelled so fast" in text
    assert "34.8%" not in text and "35% 8 of 23 cases" in text, "its precision by verdicts"
    assert "/rules/new" not in desk.page_text()
    assert "impossible-travel" not in desk.get("/rules?text=testing").text
    assert "No rule like that" in desk.get("/rules?text=nothing").text
    assert "card-testing" not in desk.get("/rules?state=shadow").text
    assert "It was shipped" in desk.get("/rules/card-testing").text


def test_a_rule_lives_from_a_draft_to_its_end_and_two_people_make_it_live(office: RuleOffice) -> None:
    ann = office.desk("ann")
    assert "It changes nothing yet" in written(ann, "large", because="it is large").text
    assert not ann.has_form("/rules/large/shadow")
    page = done(ann, ann.send("/rules/large/backtest", days="0"))
    text = text_of(page)
    assert "Revision 1, all there is: 108 decisions" in text and "Recall 100% 6 of 6 known frauds" in text
    assert "Precision 50% 25% to 75%, of 12 with a verdict" in text
    assert page.text.count('class="h-fraud"') == 6 + 1 and page.text.count('class="h-unknown"') == 6 + 1
    assert "It is in shadow" in ann.send("/rules/large/shadow").text
    assert not ann.has_form("/rules/large/lead/approve")
    lea, ada = office.desk("lea", "lead"), office.desk("ada", "lead")
    page = lea.get("/rules/large")
    assert "it is large" in page.text
    lea.send("/rules/large/lead/approve", days="30", why="it looks right")
    rule = office.desk_of_rules.book(office.now).rule("large")
    assert rule and rule.live and rule.live.expires_at == office.now + timedelta(days=30)
    assert "approved by lea" in text_of(ann.get("/rules"))
    ada.get("/rules/large")
    ada.send("/rules/large/lead/expire", why="too many")
    assert "This rule has ended" in ada.page_text()
    deeds = [("draft", "ann"), ("backtest", "ann"), ("shadow", "ann"), ("approve", "lea"), ("expire", "ada")]
    assert said_by(office, "large") == deeds


def test_who_wrote_a_rule_cannot_approve_it_whatever_their_role(office: RuleOffice) -> None:
    lea = office.desk("lea", "lead")
    written(lea, "own")
    done(lea, lea.send("/rules/own/backtest", days="0"))
    lea.send("/rules/own/shadow")
    page = lea.send("/rules/own/lead/approve", 422, days="30")
    assert "Rule 'own' was written by lea; another has to approve it" in text_of(page)
    assert "approve" not in dict(said_by(office, "own"))


def test_a_revision_that_changed_meanwhile_is_not_approved(office: RuleOffice) -> None:
    ann, lea = office.desk("ann"), office.desk("lea", "lead")
    written(ann, "moving")
    done(ann, ann.send("/rules/moving/backtest", days="0"))
    ann.send("/rules/moving/shadow")
    lea.get("/rules/moving")
    ann.send("/rules/moving/write", when="amount > 1", action="decline")
    assert "is at revision 2 by now, not 1" in text_of(lea.send("/rules/moving/lead/approve", 422, days="30"))


def test_each_role_does_what_it_may(office: RuleOffice) -> None:
    posts = {
        "analyst": ["new", "check", "try", "suggest", "lists/put", "lists/take-off", "lists/refuse", "trials/x/cancel"]
        + [f"card-testing/{deed}" for deed in ("write", "backtest", "shadow", "snooze", "wake")],
        "lead": ["lists/agree", "card-testing/lead/approve", "card-testing/lead/expire"],
    }
    version = office.desk_of_rules.book(office.now).version
    for name, refused in (("vic", posts["analyst"] + posts["lead"]), ("ann", posts["lead"])):
        desk = office.desk(name, "viewer" if name == "vic" else "analyst")
        token = re.search(r'name="csrf" value="(\w+)"', desk.get("/rules").text)
        assert token
        for path in refused:
            assert desk.client.post(f"/rules/{path}", data={"csrf": token[1]}).status_code == 403, (name, path)
        assert desk.client.post("/rules/check", data={"when": "amount"}).status_code == 403, "without the token"
    viewer = office.desk("vic", "viewer")
    assert [viewer.get(f"/rules/{page}").status_code for page in ("new", "words", "suggest")] == [403] * 3
    assert [viewer.get(f"/rules/{page}").status_code for page in ("history", "lists", "denied")] == [200] * 3
    assert office.desk_of_rules.book(office.now).version == version


def test_a_fault_is_shown_at_its_character_and_nothing_is_written(office: RuleOffice) -> None:
    ann = office.desk("ann")
    ann.get("/rules/new")
    page = ann.send("/rules/new", 422, name="wrong", when="  amount > 1\r\nand amont > 2", action="review")
    assert "There is no 'amont'; did you mean 'amount'? (line 2, character 5)" in text_of(page)
    assert "and <mark>amont</mark> &gt; 2" in page.text
    assert 'value="wrong"' in page.text, "what was typed is still there"
    assert office.desk_of_rules.book(office.now).rule("wrong") is None
    token = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert token
    for when, at, line, column in (
        ("amont > 1", 0, 1, 1),
        ("  amont > 1", 2, 1, 3),
        ("amount > 1\nand amont > 2", 15, 2, 5),
        ("amount >", 8, 1, 9),
        ("amount > 'x'", 9, 1, 10),
        ("currency == '\U0001f600' and amont > 1", 21, 1, 21),
    ):
        fault = ann.client.post("/rules/check", data={"csrf": token[1], "when": when}).json()["fault"]
        assert (fault["at"], fault["line"], fault["column"]) == (at, line, column), when
    good = {"csrf": token[1], "when": "amount > 1\nand not card_id in deny"}
    assert ann.client.post("/rules/check", data=good).json() == {"fault": None}


IMPOSSIBLE = (
    ({"name": "card-testing"}, "There is a rule 'card-testing' already"),
    ({"name": "-x"}, "begins with a letter or digit; '-x' is none"),
    ({"name": ""}, "A rule's name has 1 to 64"),
    ({"when": " "}, "A rule needs a condition"),
    ({"action": "explode"}, "'explode' is no action"),
    ({"action": "add", "add": "2"}, "is a number from -1 to 1, not '2'"),
    ({"action": "tag", "tag": "<b>"}, "A tag has 1 to 64"),
    ({"priority": "many"}, "A priority is a number"),
)


def test_what_cannot_be_written_is_said_in_words(office: RuleOffice) -> None:
    ann = office.desk("ann")
    for fields, told in IMPOSSIBLE:
        ann.get("/rules/new")
        given = {"name": "fine", "when": "amount > 1", "action": "review"} | fields
        assert told in text_of(ann.send("/rules/new", 422, **given)), fields
    assert office.desk_of_rules.book(office.now).rule("fine") is None


def test_a_text_is_tried_without_a_trace_in_the_book(office: RuleOffice) -> None:
    ann, version = office.desk("ann"), office.desk_of_rules.book(office.now).version
    token = re.search(r'name="csrf" value="(\w+)"', ann.get("/rules/new").text)
    assert token
    fields = {"csrf": token[1], "when": "amount > 600 and card_count_1h >= 0", "action": "decline", "days": "0"}
    page = done(ann, ann.client.post("/rules/try", data=fields))
    assert "not in the book: only tried" in page.text and "Recall 100%" in text_of(page)
    assert 'name="when" value="amount &gt; 600 and card_count_1h &gt;= 0"' in page.text, "it opens in the editor"
    assert office.desk_of_rules.book(office.now).version == version
    none = done(ann, ann.client.post("/rules/try", data={**fields, "from": "2020-01-01", "to": "2020-01-02"}))
    assert "There is no decision to try it on in this period" in text_of(none)


def test_a_backtest_that_takes_too_long_is_ended(office: RuleOffice) -> None:
    trial = office.desk_of_rules.trial("card-testing", None, None, False, "ann")
    trial._time_limit_s = 0.0
    trial._late.set()
    with pytest.raises(RuleRefused, match="took more than 0 s and was ended"):
        trial.run()
    trial = office.desk_of_rules.trial("card-testing", None, None, False, "ann")
    trial.cancel()
    with pytest.raises(RuleRefused, match="was cancelled"):
        trial.run()


def test_values_are_pasted_found_and_taken_off_and_card_numbers_become_tokens(office: RuleOffice) -> None:
    ann = office.desk("ann")
    ann.get("/rules/lists")
    pasted = 'card-1, "card-2"\ncard-3;card-1\n4111 1111 1111 1111'
    page = ann.send("/rules/lists/put", list="watched", field="card_id", values=pasted, days="7", why="a ring")
    assert "watched of card_id" in text_of(page) and "4 of 4 values shown" in text_of(page)
    assert "4111" not in page.text
    assert "1 of 1 value shown" in text_of(ann.get("/rules/lists?list=watched&field=card_id&text=ARD-2"))
    assert "card_id in watched" not in text_of(page)
    rule = written(ann, "watching", "card_id in watched")
    assert rule.status_code == 200
    ann.get("/rules/lists?list=watched&field=card_id")
    page = ann.send("/rules/lists/take-off", value=["card-1", "card-3"])
    assert "card-2" in page.text and "card-1" not in page.text
    assert [step.by for step in office.desk_of_rules.steps("watched", 9)] == ["ann", "ann"]
    for fields, told in (
        ({"field": "amount"}, "There is no text field 'amount'"),
        ({"list": "Deny!"}, "Expected `str` matching regex"),
        ({"values": " , "}, "There is nothing in the field"),
        ({"days": "-1"}, "is no number of days"),
    ):
        ann.get("/rules/lists")
        given = {"list": "watched", "field": "card_id", "values": "x", "days": "7"} | fields
        assert told in text_of(ann.send("/rules/lists/put", 422, **given)), fields


def test_a_rule_is_silent_for_one_card_and_heard_again(office: RuleOffice) -> None:
    ann = office.desk("ann")
    assert 'value="card-7"' in ann.get("/rules/card-testing?value=card-7").text
    page = ann.send("/rules/card-testing/snooze", field="card_id", value="card-7", hours="24", why="he called")
    assert "in 24 h card_id card-7" in text_of(page)
    assert "1 snooze" in text_of(ann.get("/rules"))
    ann.get("/rules/card-testing")
    assert "It is heard again" in ann.send("/rules/card-testing/wake").text
    assert said_by(office, "card-testing") == [("snooze", "ann"), ("wake", "ann")]


def test_a_rule_is_suggested_from_decided_cases_and_opens_in_the_editor(office: RuleOffice) -> None:
    ann = office.desk("ann")
    page = ann.get("/rules/suggest")
    assert "30 frauds against 60 legit" in text_of(page)
    assert "Precision 100% 30 of 30; 89% to 100% Recall 100% 30 of 30 frauds" in text_of(page)
    address = re.search(r'href="(/rules/new\?[^"]*)"', page.text)
    assert address
    editor = ann.get(unescape(address[1]))
    when = re.search(r">([^<>]*)</textarea>", editor.text)
    assert when and unescape(when[1]) == "amount >= 500"
    assert "The amount at least" in text_of(page)
    frauds = [case.case_id for case in office.cases.queue(90, filter=DECIDED, now=NOON) if case.verdict == "fraud"]
    chosen = text_of(ann.get(f"/rules/suggest?ids={','.join(frauds[:9])}"))
    assert "From the selected cases: 9 frauds against 0 legit , beside the newest 60 other legit cases" in chosen
    assert "9 of 9 frauds" in chosen
    ann.get("/review?status=decided")
    token = re.search(r'name="csrf" value="(\w+)"', ann.page_text())
    assert token and 'formaction="/rules/suggest"' in ann.page_text()
    told = ann.client.post("/rules/suggest", data={"csrf": token[1], "ids": frauds[:2]}, headers={"hx-request": "true"})
    assert told.headers["hx-redirect"] == f"/rules/suggest?ids={quote(','.join(frauds[:2]), safe='')}"


def test_a_case_leads_to_the_rules_that_fired(office: RuleOffice) -> None:
    ann = office.desk("ann")
    case = next(one for one in office.cases.queue(90, filter=DECIDED, now=NOON) if one.rules)
    page = ann.get(f"/review/cases/{case.case_id}").text
    assert f'href="/rules/card-testing?value={case.entity}"' in page


def test_a_rule_that_is_called_like_a_page_has_one_of_its_own(office: RuleOffice) -> None:
    ann = office.desk("ann")
    assert written(ann, "new").url.path == "/rules/=new"
    assert "<h1>new</h1>" in ann.page_text()
    assert f'href="{rule_address("new")}"' in ann.get("/rules").text


def test_no_hostile_word_becomes_a_tag_or_an_attribute(office: RuleOffice) -> None:
    ann = office.desk("ann")
    written(ann, "hostile", f"amount > 600 and currency != '{WORDS.replace(chr(39), '')}'", because=HOSTILE, why=WORDS)
    pages = {"rule": done(ann, ann.send("/rules/hostile/backtest", days="0")).text}
    pages["book"], pages["history"] = ann.get("/rules").text, ann.get("/rules/history").text
    ann.get("/rules/lists")
    pages["list"] = ann.send(
        "/rules/lists/put", list="odd", field="merchant_id", values=WORDS, days="0", why=WORDS
    ).text
    ann.get("/rules/hostile")
    pages["snoozed"] = ann.send("/rules/hostile/snooze", field="merchant_id", value=WORDS, hours="4", why=WORDS).text
    ann.get("/rules/new")
    pages["refused"] = ann.send("/rules/new", 422, name=HOSTILE, when=HOSTILE, action=HOSTILE).text
    for address in (
        *(f"/rules?{name}=" for name in ("text", "state")),
        *(f"/rules/new?{name}=" for name in ("when", "name", "because", "action")),
        *(f"/rules/lists?list=odd&field=merchant_id&{name}=" for name in ("text", "list")),
        *("/rules/suggest?ids=", "/rules/suggest?rule=", "/rules/hostile?value=", "/rules/", "/rules/trials/"),
    ):
        pages[address] = ann.get(address + quote(HOSTILE, safe="")).text
    seen = 0
    for name, page in pages.items():
        tags = Tags(page)
        seen += sum("alert(1)" in word for word in tags.words) + page.count("alert(2)")
        for tag, attributes in tags.found:
            assert tag not in ("img", "iframe"), name
            assert tag != "script" or (attributes.get("src") or "").startswith("/static/"), name
            assert not [one for one in attributes if one.startswith("on") or one == "style"], (name, tag, attributes)
            for one in ("href", "src", "action", "hx-get", "formaction"):
                where = attributes.get(one)
                assert where is None or where.startswith(("/", "#")) or not where, (name, where)
        assert page.rstrip().endswith("</html>"), name
    assert seen > 20, "the hostile words are not on the pages: this test looks at nothing"


def test_what_people_do_stands_in_the_book_under_their_names(office: RuleOffice, redis_url: str) -> None:
    with RedisConnection(redis_url) as connection:
        kept = connection.one("LRANGE", book_key("fraud"), 0, -1)
    assert len(kept) > 20
    assert {decode_step(content).by for content in kept} == {"ann", "lea", "ada"}


def test_without_a_book_the_pages_say_what_to_set(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "review.sqlite")) as office:
        page = office.desk("vic", "viewer").get("/rules")
        assert (page.status_code, "HEADRACE_REDIS" in page.text) == (503, True)


def test_a_book_that_does_not_answer_is_said_and_the_other_pages_go_on(redis_url: str, tmp_path: Path) -> None:
    with closing(RuleOffice(tmp_path, redis_url)) as office:
        desk = office.desk("ann")
        assert desk.get("/rules").status_code == 200
        office.desk_of_rules._log.connection.close()
        office.desk_of_rules._log.connection = RedisConnection("redis://127.0.0.1:1/0", 50, 50)
        page = desk.get("/rules")
        assert (page.status_code, page.headers["retry-after"]) == (503, "3")
        assert "the rule book does not answer" in text_of(page).lower()
        assert desk.get("/review").status_code == 200


def test_words_of_a_rule_text_say_what_it_does() -> None:
    assert RuleText(name="a", when="b", action="add", add=0.2).does == "add +0.2"
    assert RuleText(name="a", when="b", action="tag", tag="mule").does == "tag mule"
