"""Card numbers that a person types, or that lie in a file, meet the token that the service has in their place."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cards import judge_cards, open_guard
from headrace.cli import main
from headrace.settings import Settings
from headrace.source import FileSource
from stream.dataset import InvalidRow
from tests.cards import VISA, everything_in, holds

ADD = [
    "rules",
    "lists",
    "add",
    "deny",
    "card_id",
    "4111 1111 1111 1111",
    "card-7",
    "--by",
    "ann",
    "--why",
    f"of {VISA}",
]
HEADER = "event_id,event_timestamp,card_id,merchant_id,amount\n"
ROWS = [
    "e1,2026-01-31 12:00:00,4111111111111111,m,5.0\n",
    "e2,2026-01-31 12:01:00,4111-1111-1111-1111,4111111111111111,6.0\n",
    "e3,2026-01-31 12:02:00,card-7,m,7.5\n",
]


def settings(home: Path, **given: str) -> Settings:
    return Settings({"home": home, **given}, {})


def run(arguments: list[str], home: Path, redis: str) -> str:
    said = CliRunner().invoke(main, [*arguments, "--home", str(home), "--redis", redis])
    return f"{said.exit_code} {said.output}"


def table(folder: Path, *rows: str) -> Path:
    path = folder / "payments.csv"
    path.write_text(HEADER + "".join(rows))
    return path


def test_a_number_on_a_list_is_its_token(tmp_path: Path, redis_db: str) -> None:
    token = open_guard(settings(tmp_path)).text(VISA, "card_id")  # as the service made it when it met the number
    said = run(ADD, tmp_path, redis_db)
    assert said.startswith("0 "), said
    kept = everything_in(redis_db)
    assert token.encode() in kept and b"card-7" in kept and not holds(kept, VISA)
    shown = run(["rules", "lists", "show"], tmp_path, redis_db) + run(["rules", "history"], tmp_path, redis_db)
    assert token in shown and not holds(shown.encode(), VISA)
    assert run(
        ["rules", "snooze", "add", "card-testing", "card_id", VISA, "--for", "1d", "--by", "ann"], tmp_path, redis_db
    )
    assert not holds(everything_in(redis_db), VISA)


def test_beside_the_deployments_home_no_other_key_is_made(tmp_path: Path, redis_db: str) -> None:
    said = run(ADD, tmp_path, redis_db)
    assert said.startswith("1 ") and "HEADRACE_HOME" in said and not holds(said.encode(), VISA)
    assert list(tmp_path.iterdir()) == [] and not everything_in(redis_db)


def test_where_they_are_refused_so_is_what_is_typed(
    tmp_path: Path, redis_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_CARD_NUMBERS", "refuse")
    said = run(ADD, tmp_path, redis_db)
    assert said.startswith("1 ") and "takes none" in said and not holds(said.encode(), VISA)


def test_a_file_has_the_tokens_that_the_service_has(tmp_path: Path) -> None:
    guard = open_guard(settings(tmp_path))
    source = FileSource.open(table(tmp_path, *ROWS), None, guard)
    first, last = source.span()
    played = [one.transaction for one in source.between(first, last)]
    token = guard.text(VISA, "card_id")
    assert [(one.card_id, one.merchant_id) for one in played] == [(token, "m"), (token, token), ("card-7", "m")]


def test_where_they_are_refused_the_row_of_the_file_is(tmp_path: Path) -> None:
    source = FileSource.open(table(tmp_path, *ROWS), None, open_guard(settings(tmp_path, card_numbers="refuse")))
    with pytest.raises(InvalidRow, match=r"row 1 of payments.csv: field 'card_id' has '\*+1111'") as raised:
        source.span()
    assert not holds(str(raised.value).encode(), VISA)


def test_a_bad_row_is_quoted_masked(tmp_path: Path) -> None:
    bad = table(tmp_path, "e1,2026-01-31 12:00:00,c,m,4111 1111 1111 1111\n")
    with pytest.raises(InvalidRow) as raised:
        FileSource.open(bad, None, open_guard(settings(tmp_path))).span()
    assert not holds(str(raised.value).encode(), VISA)


def test_the_doctor_says_where_the_key_is_and_who_needs_it(tmp_path: Path) -> None:
    def said(**given: str) -> tuple[str, str]:
        (finding,) = judge_cards(settings(tmp_path, **given))
        return finding.level, finding.line()

    assert said()[0] == "OK" and not (tmp_path / "card.key").exists()
    open_guard(settings(tmp_path)).text(VISA, "x")
    fingerprint = open_guard(settings(tmp_path)).key
    assert fingerprint is not None and fingerprint.fingerprint() in said()[1]
    assert said()[0] == "OK" and str(tmp_path / "card.key") in said()[1]
    assert said(kafka="broker:9092")[0] == "WARN" and "other tokens" in said(kafka="broker:9092")[1]
    assert said(card_key="k" * 20, kafka="broker:9092")[0] == "OK"
    assert said(card_numbers="refuse")[1].endswith("refused")
    (tmp_path / "card.key").chmod(0o644)
    assert said()[0] == "WARN" and "chmod 600" in said()[1]
