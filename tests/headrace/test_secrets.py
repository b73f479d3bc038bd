from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cards import judge_secret_files
from headrace.cli import main
from headrace.doctor import judge_settings
from headrace.settings import SETTINGS, InvalidSetting, Setting, Settings

SECRETS = [setting for setting in SETTINGS if setting.secret]
SECRET = "a secret of some length"


def file_of(folder: Path, text: str = SECRET, mode: int = 0o600) -> str:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_the_secrets_are_these() -> None:
    assert {one.name for one in SECRETS} >= {"redis", "let_through_key", "card_key", "kafka_password"}


@pytest.mark.parametrize("newline", ["", "\n", "\r\n"])
@pytest.mark.parametrize("setting", SECRETS, ids=lambda one: str(one.name))
def test_every_secret_may_come_from_a_file(setting: Setting, newline: str, tmp_path: Path) -> None:
    text = {"redis": "redis://:secret@h:1/0", "cases": "postgresql://me:secret@h/cases"}.get(setting.name, SECRET)
    settings = Settings({}, {f"{setting.variable}_FILE": file_of(tmp_path, text + newline)})
    assert getattr(settings, setting.name) == text
    # A child need not read it: its environment has the secret, and asks for no file.
    assert (
        getattr(Settings({}, {setting.variable + "_FILE": "/absent", **settings.environment()}), setting.name) == text
    )


def test_what_is_no_secret_has_no_file(tmp_path: Path) -> None:
    assert Settings({}, {"HEADRACE_HOST_FILE": file_of(tmp_path)}).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("place", "given", "words"),
    [
        ("absent", "", r"HEADRACE_CARD_KEY_FILE=.*absent.*cannot be read: .*No such file"),
        (".", "", "cannot be read"),
        ("secret", "x" * 20, "HEADRACE_CARD_KEY and HEADRACE_CARD_KEY_FILE are both given"),
        ("empty", "", "is empty"),
        ("bytes", "", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, place: str, given: str, words: str) -> None:
    file_of(tmp_path)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    environ = {"HEADRACE_CARD_KEY_FILE": str(tmp_path / place), "HEADRACE_CARD_KEY": given}
    with pytest.raises(InvalidSetting, match=words):
        Settings({}, environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"HEADRACE_CARD_KEY": "tellnoone"},
        {"HEADRACE_CASES": "tellnoone"},
        {"HEADRACE_REDIS": "redis://:tellnoone@h:1/0", "HEADRACE_REDIS_CA": "/ca.pem"},
    ],
)
def test_a_secret_that_is_refused_is_not_quoted(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting) as raised:
        Settings({}, environ)
    assert "tellnoone" not in str(raised.value)


def test_no_command_takes_a_secret_as_an_option(tmp_path: Path) -> None:
    words = CliRunner().invoke(main, ["serve", "--help"]).output + CliRunner().invoke(main, ["score", "--help"]).output
    assert [one.name for one in SECRETS if f"--{one.name.replace('_', '-')}" in words] == ["redis"]
    said = CliRunner().invoke(main, ["rules", "list", "--redis", "redis://:tellnoone@127.0.0.1:1/0"])
    assert said.exit_code == 2 and "HEADRACE_REDIS_FILE" in said.output and "tellnoone" not in said.output


def test_no_command_shows_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # What is no address of a database is a file, made where the command is given.
    environ = {one.variable: "tellnoone-and-nobody" for one in SECRETS}
    environ |= {"HEADRACE_REDIS": "redis://:tellnoone@127.0.0.1:1/0", "HEADRACE_KAFKA": "127.0.0.1:1"}
    environ |= {"HEADRACE_KAFKA_SECURITY": "sasl_plaintext", "HEADRACE_KAFKA_USER": "me"}
    environ["HEADRACE_CASES"] = "postgresql://me:tellnoone@127.0.0.1:1/cases"
    for command in (["settings"], ["doctor"], ["rules", "list"], ["keys", "list"], ["models", "list"]):
        arguments = command if command == ["settings"] else [*command, "--home", str(tmp_path)]
        said = CliRunner().invoke(main, arguments, env=environ)
        assert said.output and "tellnoone" not in said.output + repr(said.exception), command


def test_the_doctor_knows_the_files_and_warns_of_one_that_all_may_read(tmp_path: Path) -> None:
    environ = {"HEADRACE_CARD_KEY_FILE": file_of(tmp_path, mode=0o644)}
    (warning,) = judge_secret_files(environ)
    assert warning.level == "WARN" and "chmod 600" in warning.remedy
    assert list(judge_secret_files({"HEADRACE_CARD_KEY_FILE": file_of(tmp_path, mode=0o640)})) == []
    assert all("no setting" not in one.words for one in judge_settings(Settings({}, environ), environ))
    mistaken = {"HEADRACE_HOST_FILE": "/x"}
    assert any("HEADRACE_HOST_FILE is no setting" in one.words for one in judge_settings(Settings({}, {}), mistaken))
