"""What senders write is text, every answer forbids foreign scripts, and nothing happens without one's own form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from review.review_policy import ReviewPolicy
from review.web.safe_headers import POLICY
from tests.review.flagged import HOSTILE, hostile
from tests.review.office import NOON, Desk, Office


class Tags(HTMLParser):
    """Every tag of a page with its attributes, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with closing(
        Office(tmp_path_factory.mktemp("hostile") / "review.sqlite", policy=ReviewPolicy(undo_s=600.0))
    ) as opened:
        opened.cases.take_in([hostile(number, NOON - timedelta(minutes=number)) for number in range(4)], {})
        opened.session("lea", "lead")
        yield opened


@pytest.fixture(scope="module")
def pages(office: Office) -> dict[str, str]:
    """Each page with hostile words in all that a sender, an analyst or an address can fill."""
    desk = office.desk("ann")
    first, second = [case.case_id for case in office.cases.queue(2, now=NOON)]
    desk.get(f"/review/cases/{first}")
    desk.send(f"/review/cases/{first}/note", text=HOSTILE)
    desk.send(f"/review/cases/{first}/evidence", url=f'https://example.org/?"><script>{"x" * 50}', title=HOSTILE)
    desk.get("/review?min_loss=500")
    desk.send("/review/views", name=HOSTILE[:40], shared="true")
    found = {"queue": desk.get("/review").text, "case": desk.get(f"/review/cases/{first}").text}
    found["search"] = desk.get("/review", **{}).text
    for name in ("text", "rule", "assigned_to", "outcome", "after", "done"):
        found[name] = desk.client.get(f"/review?{name}={quote(HOSTILE, safe='')}").text
    for path in ("/review/cases/", "/static/", "/set-password/"):
        found[path] = desk.client.get(path + quote(HOSTILE, safe="")).text
    for name in ("linked", "nearest", "exact"):
        found[name] = desk.get(f"/review/cases/{first}/{name}").text
        found[f"{name} of nothing"] = desk.get(f"/review/cases/{quote(HOSTILE, safe='')}/{name}").text
    desk.get(f"/review/cases/{second}")
    found["after the verdict"] = desk.send(f"/review/cases/{second}/decide", verdict="fraud").text
    found["after the next"] = desk.get(f"/review/cases/{first}/nearest").text
    desk.get(f"/review/cases/{first}")
    found["refused"] = desk.send(f"/review/cases/{first}/assign", 422, to=HOSTILE).text
    return found


def test_no_hostile_word_becomes_a_tag_or_an_attribute(pages: dict[str, str]) -> None:
    seen = 0
    for name, text in pages.items():
        tags = Tags(text)
        seen += sum("alert(1)" in word for word in tags.words)
        for tag, attributes in tags.found:
            assert tag != "img", name
            assert tag != "script" or (attributes.get("src") or "").startswith("/static/"), name
            assert not [one for one in attributes if one.startswith("on") or one == "style"], (name, tag, attributes)
            for one in ("href", "src", "action", "hx-get", "hx-post"):
                address = attributes.get(one)
                assert address is None or address.startswith(("/", "#", "https://example.org/")), (name, address)
    assert seen > 20, "the hostile words are not on the pages: this test looks at nothing"


def test_every_page_is_whole_whatever_was_written(pages: dict[str, str]) -> None:
    for name in ("queue", "case", "text", "rule", "outcome", "done", "after the verdict", "refused"):
        assert pages[name].rstrip().endswith("</html>"), name
        assert "{{" not in pages[name].replace("{{7*7}}", ""), name
        assert "49$" not in pages[name], name


@pytest.mark.parametrize(
    "path",
    [
        "/review",
        "/review/cases/none",
        "/review?outcome=x",
        "/static/style.css",
        "/static/none",
        "/nowhere",
        "/sign-in",
        "/users",
        "/theme",
        "/review/next",
    ],
)
@pytest.mark.parametrize("name", ["ann", ""])
def test_every_answer_has_the_content_policy(office: Office, path: str, name: str) -> None:
    client = office.desk("ann").client
    if not name:
        client.cookies.clear()
    answer = client.get(path, follow_redirects=False)
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "no-store" in answer.headers["cache-control"] or path.startswith("/static/")


def acts(office: Office) -> list[str]:
    case_id = office.cases.queue(1, now=NOON)[0].case_id
    deeds = (
        "claim",
        "release",
        "decide",
        "reopen",
        "snooze",
        "wake",
        "assign",
        "escalate",
        "note",
        "evidence",
        "touch",
    )
    return ["/review/next", "/review/bulk", "/review/undo", "/review/views", "/review/views/drop"] + [
        f"/review/cases/{case_id}/{deed}" for deed in deeds
    ]


def test_nothing_is_done_without_the_token_of_ones_own_form(office: Office) -> None:
    client, last = office.desk("ann").client, office.cases.last_deed()
    for path in acts(office):
        assert client.post(path, data={"verdict": "fraud", "text": "x"}).status_code == 403, path
        assert client.post(path, data={"csrf": "guess" * 8, "verdict": "fraud"}).status_code == 403, path
    assert office.cases.last_deed() == last


def test_nothing_is_done_for_a_viewer_or_for_nobody(office: Office) -> None:
    viewer, last = office.desk("vera", "viewer"), office.cases.last_deed()
    viewer.get("/account")
    token = Tags(viewer.page_text())
    csrf = next(
        attributes["value"] for tag, attributes in token.found if attributes.get("name") == "csrf" and tag == "input"
    )
    for path in acts(office):
        assert viewer.client.post(path, data={"csrf": csrf or "", "verdict": "fraud"}).status_code == 403, path
    nobody = office.desk("vera", "viewer").client
    nobody.cookies.clear()
    for path in acts(office):
        assert nobody.post(path, data={"csrf": csrf or ""}, follow_redirects=False).status_code in (303, 401, 403), path
    assert office.cases.last_deed() == last


@pytest.mark.parametrize(
    "path", ["/review", "/review/list", "/review/events", "/review/cases/x", "/review/cases/x/exact"]
)
def test_nobody_sees_anything(office: Office, path: str) -> None:
    client = office.desk("ann").client
    client.cookies.clear()
    answer = client.get(path, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/sign-in")


def test_the_theme_turns_over_and_leads_back_to_this_site_only(office: Office) -> None:
    client = office.desk("ann").client
    for referer, back in (
        ("http://localhost/review?text=a", "/review?text=a"),
        ("https://evil.example/review", "/"),
        ("http://localhost//evil.example", "/"),
        ("", "/"),
    ):
        answer = client.post("/theme", headers={"referer": referer}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, back), referer
    assert 'data-theme="' in Desk(client).get("/review").text


def test_a_database_that_is_gone_is_a_page_that_says_to_try_again(tmp_path: Path) -> None:
    with closing(Office(tmp_path / "gone.sqlite")) as office:
        desk = office.desk("ann")
        office.cases.database.engine.dispose()
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"gone.sqlite{suffix}").unlink(missing_ok=True)
        (tmp_path / "gone.sqlite").mkdir()
        answer = desk.client.get("/review")
        assert answer.status_code == 503
        assert "again" in answer.text
        assert "Traceback" not in answer.text
