"""The gate of the pages: who passes, what is asked of forms, and what no trick gets past."""

from __future__ import annotations

import anyio
import pytest
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from review.person import Role
from review.web.body import BodyRefused, read_body
from review.web.gate import BODY_LIMIT, STRANGER_RATE
from review.web.site import InvalidSite, Site, local_path
from review.web.watched_stream import watched
from tests.review.account_desks import HTML, Browser, Pages, accounts_in, csrf_in, with_person
from tests.until import LIMIT_S


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """The pages with a person of each role, whose name it is."""
    made = Pages(accounts_in(tmp_path_factory.mktemp("gate") / "review.sqlite"))
    roles: tuple[Role, ...] = ("viewer", "analyst", "lead", "admin")
    for role in roles:
        with_person(made.accounts, role, role)
    return made


@pytest.fixture
def analyst(pages: Pages) -> Browser:
    """A browser in which an analyst is signed in."""
    browser = pages.browser()
    assert browser.sign_in("analyst").status_code == 303
    return browser


# Who passes


def test_a_stranger_is_sent_to_sign_in_and_from_there_to_where_they_wanted(pages: Pages) -> None:
    browser = pages.browser()
    answer = browser.get("/review?sort=loss&page=2")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=/review%3Fsort%3Dloss%26page%3D2"
    form = browser.get(answer.headers["location"])
    assert 'name="next" value="/review?sort=loss&amp;page=2"' in form.text
    assert (
        browser.sign_in("viewer", next_path="/review?sort=loss&page=2").headers["location"]
        == "/review?sort=loss&page=2"
    )
    assert browser.get("/review").text == "viewer "


def test_what_a_page_asks_by_itself_is_answered_in_its_own_way(pages: Pages) -> None:
    client = pages.browser().client
    part = client.get(
        "/review/part", headers={"hx-request": "true", "hx-current-url": "http://localhost/review?page=3"}
    )
    assert part.status_code == 401 and part.headers["hx-redirect"] == "/sign-in?next=/review%3Fpage%3D3"
    elsewhere = client.get("/review", headers={"hx-request": "true", "hx-current-url": "http://evil.example/x"})
    assert elsewhere.headers["hx-redirect"] == "/sign-in?next=/review"
    for accept in ("text/event-stream", "application/json", "*/*"):
        assert client.get("/review", headers={"accept": accept}).status_code == 401


@pytest.mark.parametrize("role", ["viewer", "analyst", "lead", "admin"])
def test_each_role_opens_its_pages_and_those_below(pages: Pages, role: str) -> None:
    browser = pages.browser()
    browser.sign_in(role)
    ladder = ["viewer", "analyst", "lead", "admin"]
    answers = {other: browser.get(f"/for-{other}") for other in ladder}
    assert [answer.status_code for answer in answers.values()] == [
        200 if ladder.index(other) <= ladder.index(role) else 403 for other in ladder
    ]
    if role == "viewer":
        assert "needs the role of an analyst; viewer is viewer" in answers["analyst"].text


def test_no_path_is_open_that_is_not_meant_to_be(pages: Pages) -> None:
    browser = pages.browser()
    paths = [
        "/",
        "/for-admin",
        "/account",
        "/users",
        "/sign-inx",
        "/set-password",
        "/review/../for-admin",
        "//for-admin",
    ]
    for path in [*paths, "/%2e%2e/for-admin", "/static", "/sign-out", "/theme", "/sign-in/../for-admin", "/FOR-ADMIN"]:
        answer = browser.get(path)
        assert answer.status_code in (303, 404), path
        assert "admin" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_no_other_method_is_answered(analyst: Browser, method: str) -> None:
    assert analyst.client.request(method, "/review").status_code == 405


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "localhost@evil.example",
        "",
        "127.0.0.1.nip.io",
        "[::2]",
    ],
)
def test_another_host_is_refused_so_that_no_name_can_be_pointed_here(analyst: Browser, host: str) -> None:
    assert analyst.get("/review", host=host).status_code == 421


@pytest.mark.parametrize(
    "host", ["localhost/static/", "localhost:80/static/", "localhost?/static/", "localhost:1/static/x#"]
)
def test_a_host_that_pretends_to_be_a_path_opens_none(pages: Pages, host: str) -> None:
    answer = pages.browser().get("/for-admin", host=host)
    assert answer.status_code == 421


def test_a_request_for_two_hosts_is_refused(pages: Pages) -> None:
    # A proxy before us may have believed the other one.
    two = [("host", "localhost"), ("host", "evil.example")]
    assert pages.browser().client.get("/sign-in", headers=two).status_code == 421


def test_a_public_url_is_the_one_host_and_origin() -> None:
    site = Site("https://Review.Example.org/")
    assert site.has_host("review.example.org") and site.has_host("review.example.org:443")
    assert not site.has_host("localhost") and not site.has_host("review.example.org:8443")
    assert site.has_origin("https://review.example.org", "review.example.org:443")
    for origin in ("http://review.example.org", "https://review.example.org:8443", "null", "", "https://example.org"):
        assert not site.has_origin(origin, "review.example.org")
    assert site.url("/set-password/x", "evil.example") == "https://review.example.org/set-password/x"
    assert site.cookie("session") == "__Host-headrace-session"


@pytest.mark.parametrize(
    "url",
    [
        "http://review.example.org",
        "review.example.org",
        "https://a@b.example",
        "https://b.example/x",
        "ftp://b.example",
    ],
)
def test_pages_are_not_served_where_passwords_would_be_seen(url: str) -> None:
    with pytest.raises(InvalidSite):
        Site(url)


# Forms


def test_a_form_without_the_sessions_token_changes_nothing(pages: Pages, analyst: Browser) -> None:
    other = pages.browser()
    other.sign_in("viewer")
    theirs = csrf_in(other.get("/account"))
    own = csrf_in(analyst.get("/account"))
    for token in ("", theirs, own[:-1], own.upper() + "x", analyst.session):
        answer = analyst.client.post("/review", data={"csrf": token}, headers=HTML)
        assert answer.status_code == 403 and "too old" in answer.text, token
    assert analyst.client.post("/review", data={"csrf": own, "x": "1"}).text == f"analyst csrf={own}&x=1"
    assert analyst.client.post("/review", json={"x": 1}, headers={"x-csrf-token": own}).text == 'analyst {"x":1}'


def test_a_token_in_the_address_or_another_kind_of_body_counts_for_nothing(analyst: Browser) -> None:
    own = csrf_in(analyst.get("/account"))
    assert analyst.client.post(f"/review?csrf={own}").status_code == 403
    assert analyst.client.post("/review", json={"csrf": own}).status_code == 415
    assert analyst.client.post("/review", files={"csrf": own.encode()}).status_code == 415
    assert (
        analyst.client.post("/review", content=f"csrf={own}", headers={"content-type": "text/plain"}).status_code == 415
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://localhost"},
        {"origin": "http://localhost:81"},
        {"origin": "http://localhost.evil.example"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing_even_with_the_token(analyst: Browser, headers: dict[str, str]) -> None:
    own = csrf_in(analyst.get("/account"))
    for path in ("/review", "/sign-in", "/theme", "/sign-out"):
        assert analyst.client.post(path, data={"csrf": own}, headers=headers).status_code == 403
    assert analyst.get("/review").status_code == 200


def test_a_form_sent_after_the_session_ended_leads_to_signing_in_and_back(pages: Pages, analyst: Browser) -> None:
    own = csrf_in(analyst.get("/account"))
    pages.accounts.end_sessions("analyst", "admin", pages.clock())
    headers = HTML | {"referer": "http://localhost/review?page=2"}
    answer = analyst.client.post("/review", data={"csrf": own}, headers=headers)
    assert answer.status_code == 303 and answer.headers["location"] == "/sign-in?next=/review%3Fpage%3D2"
    answer = analyst.client.post("/review", data={"csrf": own}, headers=HTML | {"referer": "https://evil.example/x"})
    assert answer.headers["location"] == "/sign-in?next=/review"


# Bounds


def test_a_huge_body_is_refused_by_what_it_says_and_by_what_it_is(analyst: Browser) -> None:
    own = csrf_in(analyst.get("/account"))
    large = "x" * BODY_LIMIT
    assert analyst.client.post("/review", data={"csrf": own, "x": large}).status_code == 413
    assert (
        analyst.client.post("/review", content=iter([b"csrf=", own.encode(), b"&x=", large.encode()])).status_code
        == 413
    )
    assert analyst.client.post("/review", content=b"", headers={"content-length": "99999999999"}).status_code == 413
    many = "&".join(f"a{number}=1" for number in range(5000)) + f"&csrf={own}"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert analyst.client.post("/review", content=many, headers=headers).status_code == 400


def test_a_body_that_is_too_large_is_not_read_to_its_end() -> None:
    read = 0

    async def endless() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    with pytest.raises(BodyRefused):
        anyio.run(read_body, {"headers": []}, endless, 10_000)
    assert read == 11


def test_one_address_is_slowed_down_and_others_are_not(pages: Pages) -> None:
    flood = pages.browser("203.0.113.200")
    answers = [flood.get("/review").status_code for _ in range(int(STRANGER_RATE.burst) + 2)]
    assert answers[-1] == 429 and answers.count(303) == int(STRANGER_RATE.burst)
    junk = flood.client.get("/review", headers=HTML | {"cookie": f"headrace-session={'A' * 43}"})
    assert junk.status_code == 429 and int(junk.headers["retry-after"]) >= 1
    assert pages.browser("203.0.113.201").get("/review").status_code == 303


# Streams


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_stream_ends_with_its_session(is_alive: bool) -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def beats() -> object:
            for number in range(3):
                yield f": {number}\n\n"

        await StreamingResponse(beats(), media_type="text/event-stream")(scope, receive, send)  # type: ignore[arg-type]

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async def alive() -> bool:
        return is_alive

    async def run() -> None:
        with anyio.fail_after(LIMIT_S):
            await watched(
                app, {"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send, alive, look_every_s=0.0
            )

    anyio.run(run)
    bodies = [message["body"] for message in sent if message["type"] == "http.response.body"]
    assert bodies == ([b": 0\n\n", b": 1\n\n", b": 2\n\n", b""] if is_alive else [b""])
    assert sent[-1].get("more_body", False) is False


# Where to go on


@pytest.mark.parametrize(
    "text",
    [
        *("//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "javascript:alert(1)", ""),
        *("/\t/evil.example", "/\n/evil.example", "/review\r\nSet-Cookie: a=b", " /review", "review", "/" + "x" * 600),
        *("/é", "/\x00", "/review\\..\\x", "/sign-in?next=/sign-in", "/sign-out", "/set-password/x", "///evil.example"),
    ],
)
def test_no_address_leads_anywhere_but_to_our_pages(text: str) -> None:
    assert local_path(text) == "/review"


@pytest.mark.parametrize("text", ["/", "/review", "/review/cases/7", "/review?text=a%20b&page=2#x", "/alerts?x=//y"])
def test_an_address_of_ours_is_kept(text: str) -> None:
    assert local_path(text) == text
