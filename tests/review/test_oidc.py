"""Signing in with an OIDC provider, by an honest one, through one that lies, and against whoever sits between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Event
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from httpx import Response as Answer

from review import oidc_provider
from review.account import AccountError
from review.oidc import OidcPolicy, Provider
from review.oidc_provider import InvalidIssuer, ProviderFacts, ProviderUnavailable, ask
from review.person import roles_of
from review.web.account_desk import ASKED_WAITING
from tests.review.account_desks import PASSWORD, Browser, Pages, accounts_in
from tests.review.fake_provider import CLIENT, SECRET, FakeProvider, running_provider
from tests.until import LIMIT_S

ROLES = "staff=viewer,fraud-team=analyst,fraud-admins=admin"


@pytest.fixture(scope="module")
def running() -> Iterator[FakeProvider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def honest(running: FakeProvider) -> FakeProvider:
    """The provider, as honest as at first."""
    running.claims, running.metadata, running.algorithm, running.kid = {}, {}, "ES256", "first"
    running.signs_with = None
    running.asked.clear()
    return running


@pytest.fixture
def pages(honest: FakeProvider, tmp_path: Path) -> Pages:
    """The pages with a local admin, root, and the provider."""
    policy = OidcPolicy(honest.issuer, CLIENT, SECRET, roles=roles_of(ROLES))
    return Pages(accounts_in(tmp_path / "review.sqlite", ("root", "admin")), provider=Provider(policy))


def go(browser: Browser, next_path: str = "/review") -> str:
    """Begin; where the provider's page is."""
    answer = browser.get(f"/sign-in/provider?next={next_path}")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def come_back(browser: Browser, query: str) -> Answer:
    return browser.get(f"/sign-in/provider/back?{query}")


def sign_in(browser: Browser, provider: FakeProvider, next_path: str = "/review") -> Answer:
    return come_back(browser, provider.agree(go(browser, next_path)))


def test_a_person_of_the_provider_comes_in_with_the_role_of_their_groups(pages: Pages, honest: FakeProvider) -> None:
    browser = pages.browser()
    assert "Sign in with 127.0.0.1" in browser.get("/sign-in?next=/review/cases/7").text
    address = go(browser, "/review/cases/7")
    asked = parse_qs(urlsplit(address).query)
    assert asked["redirect_uri"] == ["http://localhost/sign-in/provider/back"]
    assert asked["code_challenge_method"] == ["S256"] and asked["response_type"] == ["code"]
    answer = come_back(browser, honest.agree(address))
    assert answer.status_code == 303 and answer.headers["location"] == "/review/cases/7"
    assert browser.get("/for-analyst").text == "ann " and browser.get("/for-lead").status_code == 403
    account = pages.accounts.account("ann", pages.clock())
    assert account.is_provided and not account.has_password


def test_the_role_is_what_the_provider_says_at_each_sign_in(pages: Pages, honest: FakeProvider) -> None:
    browser = pages.browser()
    sign_in(browser, honest)
    honest.claims = {"groups": ["staff", "fraud-admins", "other"]}
    sign_in(pages.browser(), honest)
    assert browser.get("/for-admin").status_code == 200
    honest.claims = {"groups": "staff"}
    sign_in(pages.browser(), honest)
    assert browser.get("/for-analyst").status_code == 403
    honest.claims = {"groups": ["nothing of ours", {"deep": 1}, "admin"]}
    answer = sign_in(pages.browser(), honest)
    assert answer.status_code == 403 and "no role here" in answer.text
    assert browser.get("/for-viewer").status_code == 303, "who has no role any more is out"
    with pytest.raises(AccountError, match="comes from the provider"):
        pages.accounts.set_role("ann", "admin", "root", pages.clock())


def test_a_name_at_the_provider_opens_no_account_of_that_name(pages: Pages, honest: FakeProvider) -> None:
    honest.claims = {"preferred_username": "root", "groups": ["fraud-admins"]}
    answer = sign_in(pages.browser(), honest)
    assert answer.status_code == 403 and "another account" in answer.text
    honest.claims = {"sub": "8"}
    sign_in(pages.browser(), honest)
    honest.claims = {"sub": "9"}  # another person who took the name "ann" there
    assert sign_in(pages.browser(), honest).status_code == 403
    honest.claims = {"sub": "8", "preferred_username": "renamed"}
    browser = pages.browser()
    sign_in(browser, honest)
    assert browser.get("/for-viewer").text == "ann "


def test_a_provided_account_that_is_turned_off_stays_out(pages: Pages, honest: FakeProvider) -> None:
    sign_in(pages.browser(), honest)
    pages.accounts.turn_off("ann", "root", pages.clock())
    answer = sign_in(pages.browser(), honest)
    assert answer.status_code == 403 and "turned off" in answer.text
    with pytest.raises(AccountError):
        pages.accounts.links.make("ann", "root", pages.clock())
    assert pages.browser().sign_in("ann", PASSWORD).status_code == 401


def test_an_answer_counts_in_the_browser_that_asked_once_and_for_a_while(pages: Pages, honest: FakeProvider) -> None:
    asking, other = pages.browser(), pages.browser()
    go(other)
    query = honest.agree(go(asking))
    assert come_back(other, query).status_code == 403, "another browser's"
    assert come_back(pages.browser(), query).status_code == 403, "no browser's"
    assert come_back(asking, query).status_code == 303
    assert come_back(asking, query).status_code == 403, "it was used"
    late = pages.browser()
    query = honest.agree(go(late))
    pages.clock.turn(minutes=11)
    assert "longer than 10 minutes" in come_back(late, query).text


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "x" * 43},
        {"iss": "https://evil.example"},
        {"error": "access_denied"},
        {"error": "%3Cscript%3Ealert(1)%3C/script%3E"},
        {"code": "made-up"},
    ],
)
def test_a_changed_answer_is_refused(pages: Pages, honest: FakeProvider, changes: dict[str, str]) -> None:
    browser = pages.browser()
    answer = come_back(browser, honest.agree(go(browser), **changes))
    assert answer.status_code in (403, 503) and not browser.session
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another-application"},
        {"aud": [CLIENT, "another-application"]},
        {"azp": "another-application"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": timedelta(minutes=-2)},
        {"exp": None},
        {"iat": timedelta(minutes=10)},
        {"sub": None},
        {"sub": ""},
        {"nbf": timedelta(minutes=10)},
    ],
)
def test_a_token_that_is_not_for_us_now_is_refused(
    pages: Pages, honest: FakeProvider, claims: dict[str, object]
) -> None:
    # From now: when this file was read is long ago.
    times = {name: value for name, value in claims.items() if isinstance(value, timedelta)}
    honest.claims = claims | {name: int(time.time() + value.total_seconds()) for name, value in times.items()}
    browser = pages.browser()
    assert sign_in(browser, honest).status_code == 403
    assert not browser.session


def test_a_token_signed_by_somebody_else_is_refused(pages: Pages, honest: FakeProvider) -> None:
    forged = [("ES256", ec.generate_private_key(ec.SECP256R1())), ("none", "")]
    # The public key, which everybody has, taken for the secret of an HMAC.
    public = honest.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for algorithm, key in [*forged, ("HS256", public), ("HS256", SECRET.encode().ljust(32))]:
        honest.algorithm, honest.signs_with = algorithm, key
        browser = pages.browser()
        assert sign_in(browser, honest).status_code == 403, algorithm
        assert not browser.session


def test_new_keys_of_the_provider_are_fetched_but_not_for_every_made_up_one(
    pages: Pages, honest: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("review.oidc_provider.KEYS_AGAIN_AFTER_S", 0.0)
    assert sign_in(pages.browser(), honest).status_code == 303
    honest.kid = "second"
    assert sign_in(pages.browser(), honest).status_code == 303
    monkeypatch.setattr("review.oidc_provider.KEYS_AGAIN_AFTER_S", 3600.0)
    asked = honest.asked.count("/keys")
    honest.kid, honest.signs_with = "third", ec.generate_private_key(ec.SECP256R1())
    for _ in range(3):
        assert sign_in(pages.browser(), honest).status_code == 403
    assert honest.asked.count("/keys") == asked


def test_a_provider_that_lies_about_itself_is_not_asked(pages: Pages, honest: FakeProvider) -> None:
    for metadata in (
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"padding": "x" * 1_100_000},
    ):
        honest.metadata = metadata
        answer = pages.browser().get("/sign-in/provider")
        assert answer.status_code == 503 and "does not answer" in answer.text
    honest.metadata = {}
    assert go(pages.browser())


def test_without_the_provider_people_with_passwords_still_come_in(pages: Pages, honest: FakeProvider) -> None:
    gone = OidcPolicy("http://127.0.0.1:1", CLIENT, SECRET)
    alone = Pages(pages.accounts, provider=Provider(gone))
    assert alone.browser().get("/sign-in/provider").status_code == 503
    assert alone.browser().sign_in("root").status_code == 303


def test_a_provider_that_hangs_holds_up_no_other_page(
    pages: Pages, honest: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, goes_on = pages.browser(), Event()
    assert browser.sign_in("root").status_code == 303
    monkeypatch.setattr(honest, "answer", lambda *asked: (503, {}) if goes_on.wait(LIMIT_S) else (500, {}))
    with ThreadPoolExecutor(ASKED_WAITING + 1) as strangers:
        asked = [strangers.submit(pages.browser().get, "/sign-in/provider") for _ in range(ASKED_WAITING + 1)]
        try:
            refused, _ = wait(asked, LIMIT_S, FIRST_COMPLETED)
            assert [answer.result().status_code for answer in refused] == [503], "one more than may wait"
            assert browser.get("/account").status_code == 200
        finally:
            goes_on.set()
        assert {answer.result().status_code for answer in asked} == {503}


def test_a_provider_that_answers_drop_by_drop_is_given_up(
    honest: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc_provider, "monotonic", count(step=1000).__next__)
    with pytest.raises(ProviderUnavailable, match="to answer"):
        ask("GET", f"{honest.issuer}/keys")


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "%2F%2Fevil.example", "/%0d%0aset-cookie:x"]
)
def test_the_way_back_leads_to_no_other_site(pages: Pages, honest: FakeProvider, target: str) -> None:
    assert sign_in(pages.browser(), honest, target).headers["location"] == "/review"


def test_roles_may_lie_deep_in_the_claims_and_the_highest_counts() -> None:
    policy = OidcPolicy("https://id.example", CLIENT, SECRET, "realm_access.roles", roles_of(""))
    assert policy.role({"realm_access": {"roles": ["viewer", "lead", "analyst"]}}) == "lead"
    for claims in ({}, {"realm_access": "lead"}, {"realm_access": {"roles": None}}, {"roles": ["admin"]}):
        assert policy.role(claims) is None
    assert SECRET not in repr(policy)


@pytest.mark.parametrize("text", ["fraud-team", "fraud-team=root", "=admin", "a=admin,,b=lead"])
def test_a_setting_that_makes_no_role_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not like fraud-team=analyst"):
        roles_of(text)


@pytest.mark.parametrize("issuer", ["http://id.example", "id.example", "", "ftp://localhost"])
def test_a_provider_without_https_is_refused(issuer: str) -> None:
    with pytest.raises(InvalidIssuer):
        ProviderFacts(issuer)
