"""The pages of accounts, as browsers without scripts use them: the first link, signing in, one's sessions, people."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from review.web.site import Site
from tests.review.account_desks import HTML, PASSWORD, Browser, Pages, accounts_in, csrf_in, with_person

NEW = "another river and another mill"


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    """The pages with an admin, ann, and an analyst, bob."""
    return Pages(accounts_in(tmp_path / "review.sqlite", ("ann", "admin"), ("bob", "analyst")))


@pytest.fixture
def ann(pages: Pages) -> Browser:
    browser = pages.browser()
    browser.sign_in("ann")
    return browser


@pytest.fixture
def bob(pages: Pages) -> Browser:
    browser = pages.browser()
    browser.sign_in("bob")
    return browser


def link_in(text: str) -> str:
    """The path of the one-time link that a page shows."""
    found = re.search(r'value="http://localhost(/set-password/[\w-]{43})"', text)
    assert found, text
    return found[1]


def test_from_the_first_link_to_a_colleague_who_works(tmp_path: Path) -> None:
    pages = Pages(accounts_in(tmp_path / "review.sqlite"))
    token = pages.accounts.links.first(pages.clock())
    ann, bob = pages.browser(), pages.browser()
    assert "The first admin" in ann.get(f"/set-password/{token}").text
    for form, sentence in (
        ({"name": "ann", "password": PASSWORD, "again": NEW}, "not the same"),
        ({"name": "ann", "password": "short", "again": "short"}, "12 or more"),
        ({"name": "a b", "password": PASSWORD, "again": PASSWORD}, "no name for an account"),
    ):
        answer = ann.post(f"/set-password/{token}", form)
        assert answer.status_code == 422 and sentence in unescape(answer.text)
        assert PASSWORD not in answer.text
    answer = ann.post(f"/set-password/{token}", {"name": "ann", "password": PASSWORD, "again": PASSWORD})
    assert answer.status_code == 303 and ann.get("/for-admin").text == "ann "
    assert pages.browser().get(f"/set-password/{token}").status_code == 410

    invited = ann.post("/users/invite", {"name": "Bob", "role": "analyst"}, on="/users")
    assert invited.headers["cache-control"] == "no-store"
    link = link_in(invited.text)
    assert link not in ann.get("/users").text, "it is shown once"
    assert "bob" in bob.get(link).text and "analyst" in bob.get(link).text
    bob.post(link, {"name": "eve", "password": NEW, "again": NEW})
    assert bob.get("/for-analyst").text == "bob " and bob.get("/for-lead").status_code == 403
    assert pages.browser().get(link).status_code == 410


def test_signing_in_gives_a_new_session_that_no_script_reads(pages: Pages) -> None:
    browser = pages.browser()
    planted = "A" * 43
    browser.client.cookies.set("headrace-session", planted, domain="localhost.local")
    answer = browser.sign_in("bob", next_path="/review?page=2")
    assert answer.status_code == 303 and answer.headers["location"] == "/review?page=2"
    (cookie,) = [one for one in answer.headers.get_list("set-cookie") if one.startswith("headrace-session=")]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; ")[1:])
    assert planted not in cookie
    first = browser.session
    answer = browser.post("/sign-in", {"name": "bob", "password": PASSWORD, "next": "/review"}, on="/account")
    assert answer.status_code == 303 and browser.session != first
    assert pages.accounts.sessions.person(first, pages.clock()) is None, "the session before it ended"


def test_over_https_cookies_are_of_this_host_alone(tmp_path: Path) -> None:
    url = "https://review.example.org"
    pages = Pages(accounts_in(tmp_path / "review.sqlite"), site=Site(url), base_url=url)
    with_person(pages.accounts, "ann", "admin")
    browser = pages.browser()
    answer = browser.sign_in("ann")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    cookies = answer.headers.get_list("set-cookie")
    assert {cookie.split("=")[0] for cookie in cookies} == {
        *("__Host-headrace-session", "__Host-headrace-device", "__Host-headrace-visitor")
    }
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; ")) and "Domain" not in cookie
    assert browser.get("/for-admin").status_code == 200


def test_names_that_exist_are_answered_like_those_that_do_not(pages: Pages) -> None:
    pages.accounts.invite("inv", "viewer", "ann", pages.clock())
    answers = []
    for name in ("bob", "zed", "inv"):
        answer = pages.browser().sign_in(name, "not the password")
        text = re.sub(r"[0-9a-f]{64}", "", answer.text).replace(name, "")
        answers.append((answer.status_code, text, sorted(set(answer.headers) - {"content-length"})))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 401


def test_after_some_failures_the_form_says_how_long_to_wait(pages: Pages) -> None:
    browser = pages.browser()
    answers = [browser.sign_in("bob", "not the password") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert "Too many tries; the next one is taken in 2 seconds." in answers[-1].text
    assert int(answers[-1].headers["retry-after"]) >= 2
    assert browser.sign_in("bob").status_code == 429, "the right one too"
    pages.clock.turn(seconds=2)
    assert browser.sign_in("bob").status_code == 303


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\r\nx: y"])
def test_signing_in_leads_to_no_other_site(pages: Pages, target: str) -> None:
    answer = pages.browser().sign_in("bob", next_path=target)
    assert answer.headers["location"] == "/review" and "x" not in answer.headers


def test_what_is_typed_is_shown_as_text(pages: Pages) -> None:
    hostile = "<script>alert(1)</script>\"'>"
    answer = pages.browser().sign_in(hostile, hostile)
    assert answer.status_code == 401 and "<script>alert" not in answer.text
    refused = pages.browser().get(f"/sign-in?next=/{hostile}")
    assert "<script>alert" not in refused.text


def test_a_form_of_the_sign_in_page_is_of_one_browser(pages: Pages) -> None:
    csrf = csrf_in(pages.browser().get("/sign-in"))
    victim = pages.browser()
    victim.get("/sign-in")
    answer = victim.client.post("/sign-in", data={"csrf": csrf, "name": "bob", "password": PASSWORD}, headers=HTML)
    assert answer.status_code == 403 and not victim.session


def test_signing_out_ends_the_session_in_the_store_too(pages: Pages, bob: Browser) -> None:
    session = bob.session
    assert bob.client.get("/sign-out", headers=HTML).status_code == 405
    answer = bob.post("/sign-out", {}, on="/account")
    assert answer.status_code == 303 and answer.headers["location"] == "/sign-in"
    assert not bob.session
    assert pages.accounts.sessions.person(session, pages.clock()) is None
    assert pages.accounts.entries("bob")[0].deed == "signed_out"


def test_a_person_sees_their_sessions_and_ends_them(pages: Pages, bob: Browser, ann: Browser) -> None:
    other = pages.browser("203.0.113.77")
    other.sign_in("bob")
    page = bob.get("/account").text
    assert "203.0.113.77" in page and "this one" in page
    (session_id,) = set(re.findall(r'name="session" value="([0-9a-f]{16})"', page))
    stolen = ann.post("/account/sessions/end", {"session": session_id}, on="/account")
    assert stolen.status_code == 404, "nobody ends another's"
    assert bob.post("/account/sessions/end", {"session": session_id}, on="/account").status_code == 303
    assert other.get("/review").status_code == 303 and bob.get("/review").status_code == 200
    other.sign_in("bob")
    bob.post("/account/sessions/end", {"session": "others"}, on="/account")
    assert other.get("/review").status_code == 303 and bob.get("/review").status_code == 200


def test_a_person_changes_their_password(pages: Pages, bob: Browser) -> None:
    other = pages.browser()
    other.sign_in("bob")
    wrong = {"old": "not the password", "password": NEW, "again": NEW}
    assert bob.post("/account/password", wrong, on="/account").status_code == 422
    changed = bob.post("/account/password", wrong | {"old": PASSWORD}, on="/account")
    assert changed.headers["location"] == "/account?done=password"
    assert "your password is changed" in bob.get("/account?done=password").text.lower()
    assert other.get("/review").status_code == 303 and bob.get("/review").status_code == 200
    assert pages.browser().sign_in("bob").status_code == 401
    assert pages.browser().sign_in("bob", NEW).status_code == 303


def test_an_admin_changes_roles_and_turns_off_at_once(pages: Pages, ann: Browser, bob: Browser) -> None:
    assert bob.get("/for-analyst").status_code == 200
    ann.post("/users/role", {"name": "bob", "role": "viewer"}, on="/users")
    assert bob.get("/for-analyst").status_code == 403
    ann.post("/users/off", {"name": "bob"}, on="/users")
    assert bob.get("/for-viewer").status_code == 303
    ann.post("/users/on", {"name": "bob"}, on="/users")
    assert bob.get("/for-viewer").status_code == 303, "the old session stays dead"
    link = link_in(ann.post("/users/link", {"name": "bob"}, on="/users").text)
    bob.post(link, {"password": NEW, "again": NEW})
    assert bob.get("/for-viewer").status_code == 200
    answer = ann.post("/users/role", {"name": "ann", "role": "viewer"}, on="/users")
    assert answer.status_code == 422 and "the only admin" in answer.text
    page = ann.get("/users").text
    assert "role changed" in page and "turned off" in page and "analyst to viewer" in page


def test_nobody_but_an_admin_does_what_admins_do(pages: Pages, bob: Browser) -> None:
    with_person(pages.accounts, "lea", "lead")
    lea = pages.browser()
    lea.sign_in("lea")
    for browser, name in ((bob, "bob"), (lea, "lea")):
        assert browser.get("/users").status_code == 403
        for deed in ("invite", "link", "role", "off", "on", "unlock", "sign-out"):
            form = {"name": name if deed in ("role", "link") else "new-admin", "role": "admin"}
            assert browser.post(f"/users/{deed}", form, on="/account").status_code == 403, deed
    now = pages.clock()
    assert {one.name: one.role for one in pages.accounts.all(now)} == {"ann": "admin", "bob": "analyst", "lea": "lead"}


def test_what_an_admin_asks_that_cannot_be_is_said_in_words(ann: Browser) -> None:
    for deed, form, status, sentence in (
        ("role", {"name": "bob", "role": "root"}, 422, "'root' is no role"),
        ("role", {"name": "nobody-here", "role": "lead"}, 404, "there is no account"),
        ("invite", {"name": "bob", "role": "lead"}, 422, "there is an account 'bob'"),
        ("invite", {"name": "<b>x</b>", "role": "lead"}, 422, "no name for an account"),
        ("erase", {"name": "bob"}, 404, "no such deed"),
    ):
        answer = ann.post(f"/users/{deed}", form, on="/users")
        assert answer.status_code == status and sentence in unescape(answer.text).lower(), answer.text
        assert "<b>x</b>" not in answer.text


def test_a_hostile_browser_name_is_shown_as_text(pages: Pages, ann: Browser) -> None:
    eve = pages.browser()
    eve.client.headers["user-agent"] = "<script>alert(1)</script>" + "x" * 5000
    eve.sign_in("bob")
    for text in (eve.get("/account").text, ann.get("/users").text):
        assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_a_session_that_slept_is_over(pages: Pages, bob: Browser) -> None:
    pages.clock.turn(minutes=29)
    assert bob.get("/review").status_code == 200
    for status in (200, 200, 200, 200, 200, 303):
        pages.clock.turn(minutes=5)
        assert bob.get("/review", **{"x-by-itself": "1"}).status_code == status


def test_a_flood_of_passwords_is_refused_rather_than_kept_waiting(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("review.web.account_desk.HASHES_WAITING", 0)
    answer = pages.browser().sign_in("bob")
    assert answer.status_code == 503 and "try again in some seconds" in answer.text
