"""`headrace users`: the way in from the machine itself, and the settings of a provider."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli import main
from headrace.settings import InvalidSetting, Settings
from headrace.sign_in_provider import provider_of
from headrace.users import first_link, pages_said
from review.account import Caller
from review.accounts import Accounts
from review.case_store import CaseStore
from tests.review.account_desks import PASSWORD


def run(home: Path, *words: str) -> Result:
    return CliRunner(env={"HEADRACE_HOME": str(home)}).invoke(main, ["users", *words])


def test_the_machine_is_the_way_in(tmp_path: Path) -> None:
    said = run(tmp_path, "invite", "Ann", "--role", "admin")
    assert said.exit_code == 0 and said.stdout.startswith("http://localhost:3100/set-password/"), said.output
    token = said.stdout.strip().rpartition("/")[2]
    now = datetime.now(UTC)
    with closing(CaseStore(tmp_path / "review.sqlite")) as cases:
        accounts = Accounts(cases.database)
        assert first_link(Settings({}, {}), accounts, 3100), "an invited admin is none yet"
        accounts.links.use(token, "", PASSWORD, Caller(), now)
        assert first_link(Settings({}, {}), accounts, 3100) is None
    for words, sentence in (
        (("off", "ann"), "only admin"),
        (("role", "ann", "--role", "root"), "root"),
        (("link", "nobody-here"), "there is no account"),
        (("invite", "a b", "--role", "lead"), "no name for an account"),
    ):
        said = run(tmp_path, *words)
        assert said.exit_code != 0 and sentence in said.output
    assert run(tmp_path, "link", "ann").exit_code == 0
    assert run(tmp_path, "invite", "bob", "--role", "viewer").exit_code == 0
    assert run(tmp_path, "role", "bob", "--role", "lead").exit_code == 0
    assert run(tmp_path, "off", "bob").exit_code == 0
    found = {one["name"]: (one["role"], one["state"]) for one in json.loads(run(tmp_path, "list", "--json").stdout)}
    assert found == {"ann": ("admin", "active"), "bob": ("lead", "off")}
    assert "ann" in run(tmp_path, "list").output


def test_a_database_that_does_not_answer_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CASES", f"sqlite:///{tmp_path}/nowhere/cases")
    said = run(tmp_path, "list")
    assert (said.exit_code, said.exception.__class__) == (1, SystemExit)
    assert said.output.startswith("Error: the cases at ")


def test_a_link_bears_the_public_address(tmp_path: Path) -> None:
    said = run(tmp_path, "invite", "ann", "--role", "admin", "--review-url", "https://review.example.org")
    assert said.stdout.startswith("https://review.example.org/set-password/")
    said = run(tmp_path, "invite", "bob", "--role", "admin", "--review-url", "http://review.example.org")
    assert said.exit_code != 0 and "https" in said.output


def test_a_link_leads_to_where_the_pages_are(tmp_path: Path) -> None:
    said = run(tmp_path, "invite", "ann", "--role", "admin", "--review-port", "3107")
    assert said.stdout.startswith("http://localhost:3107/set-password/")
    said = run(tmp_path, "link", "ann", "--review-pages", "on", "--port", "3008")
    assert said.stdout.startswith("http://localhost:3008/set-password/")


def test_a_stack_says_where_its_pages_are_and_how_the_first_admin_gets_in(tmp_path: Path) -> None:
    settings = Settings({"home": str(tmp_path)})
    where, what, link = pages_said(settings, "http://127.0.0.1:3008").splitlines()
    assert where.endswith("http://localhost:3008/review") and "first admin" in what
    with closing(CaseStore(tmp_path / "review.sqlite")) as cases:
        accounts = Accounts(cases.database)
        token = link.strip().removeprefix("http://localhost:3008/set-password/")
        accounts.links.use(token, "ann", PASSWORD, Caller(), datetime.now(UTC))
    assert "set-password" not in pages_said(settings, "http://127.0.0.1:3008")


def test_a_provider_is_made_from_the_settings_or_refused_in_their_words() -> None:
    given = {"oidc_issuer": "https://id.example", "oidc_client_id": "pages", "oidc_roles": "team=analyst"}
    provider = provider_of(Settings(given, {"HEADRACE_OIDC_CLIENT_SECRET": "hidden"}))
    assert provider is not None and provider.name == "id.example"
    assert provider_of(Settings({}, {})) is None
    with pytest.raises(InvalidSetting, match="HEADRACE_OIDC_CLIENT_ID"):
        provider_of(Settings(given | {"oidc_client_id": ""}, {}))
    with pytest.raises(InvalidSetting, match="HEADRACE_OIDC_ISSUER"):
        provider_of(Settings(given | {"oidc_issuer": "http://id.example"}, {}))
    with pytest.raises(InvalidSetting, match="HEADRACE_OIDC_ROLES='team=root'"):
        Settings(given | {"oidc_roles": "team=root"}, {})
