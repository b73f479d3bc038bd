"""What pages load: served as it is, and what others wrote as they published it."""

from __future__ import annotations

import re
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from review.web.static_files import FOR_EVER, ROOT, StaticFiles

VENDORED = ROOT / "vendored"
TEMPLATES = ROOT.parent / "templates"
TABLE = tomllib.loads((VENDORED / "vendored.toml").read_text())


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[Route("/static/{name:path}", StaticFiles.ours().page)]))


@pytest.mark.parametrize("name", TABLE)
def test_what_others_wrote_is_as_they_published_it(name: str) -> None:
    for file in TABLE[name]["files"]:
        assert sha256((VENDORED / file["name"]).read_bytes()).hexdigest() == file["sha256"], file["name"]
    licence = (VENDORED / TABLE[name]["licence_file"]).read_text()
    assert "permission" in licence.lower()


def test_every_file_that_others_wrote_is_in_the_table() -> None:
    known = {file["name"] for one in TABLE.values() for file in one["files"]} | {
        one["licence_file"] for one in TABLE.values()
    }
    assert {path.name for path in VENDORED.iterdir()} == known | {"vendored.toml"}


def test_a_file_named_with_its_version_is_kept_for_ever_and_no_other(client: TestClient) -> None:
    address = StaticFiles.ours().address("style.css")
    assert client.get(address).headers["cache-control"] == FOR_EVER
    assert client.get("/static/style.css?v=older").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e/app.py", "vendored/vendored.toml", "vendored/../../app.py", ""])
def test_nothing_but_pages_files_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_no_template_has_what_the_content_policy_forbids() -> None:
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text()
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", text), path.name
        assert not re.search(r"<script(?![^>]* src=)", text), path.name
        assert "|safe" not in text.replace(" ", ""), path.name
        assert "hx-on" not in text and "hx-vals='js:" not in text, path.name


def test_what_a_script_puts_in_place_is_wired_before_anybody_can_press_it() -> None:
    # Else a key that comes in between sends the form without a script, and the next one is lost while the page loads.
    configured = [text for path in TEMPLATES.glob("*.html") if "htmx-config" in (text := path.read_text())]
    assert len(configured) == 3 and all('"defaultSettleDelay": 0' in text for text in configured)
    assert not any(re.search(r"hx-swap=[^>]*settle:", path.read_text()) for path in TEMPLATES.glob("*.html"))


def test_no_script_of_ours_makes_html_from_text() -> None:
    for path in Path(ROOT).glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|eval\(|new Function", path.read_text()
        )
