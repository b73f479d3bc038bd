import re
from pathlib import Path

import pytest

from headrace.settings import SETTINGS, InvalidSetting, Settings

ROOT = Path(__file__).parent.parent.parent


def test_a_setting_comes_from_the_command_line_before_the_environment_before_the_default() -> None:
    environ = {"HEADRACE_WORKERS": "3", "HEADRACE_PORT": "3001"}
    settings = Settings({"port": "3002"}, environ)
    assert (settings.port, settings.workers, settings.partitions) == (3002, 3, 8)


@pytest.mark.parametrize(
    ("name", "text"),
    [("workers", "0"), ("workers", "many"), ("deadline", "50"), ("front_door", "yes"), ("port", "http")],
)
def test_a_bad_value_is_refused_with_its_variable_and_its_value(name: str, text: str) -> None:
    with pytest.raises(InvalidSetting, match=f"HEADRACE_{name.upper()}={re.escape(repr(text))}"):
        Settings({name: text}, {})


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = Settings({"home": "/somewhere", "redis": "redis://127.0.0.1:1/2"}, {})
    again = Settings(None, settings.environment())
    assert (again.home, again.redis) == (Path("/somewhere"), "redis://127.0.0.1:1/2")


def test_a_path_is_relative_to_where_the_command_was_given_wherever_a_child_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = Settings({"policy": "own/policy.toml", "redis_ca": "/etc/ca.pem"}, {}).environment()
    assert (given["HEADRACE_HOME"], given["HEADRACE_POLICY"]) == (
        str(tmp_path / ".headrace"),
        str(tmp_path / "own" / "policy.toml"),
    )
    assert (given["HEADRACE_REDIS_CA"], given["HEADRACE_ALERTS"]) == ("/etc/ca.pem", "")
    told_as_files = {
        setting.name for setting in SETTINGS if re.search(r"\b(file|directory) of|\bpolicy file", setting.help)
    }
    assert {setting.name for setting in SETTINGS if setting.is_path} == told_as_files


def test_an_unknown_setting_is_an_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no setting 'speed'"):
        _ = Settings({}, {}).speed


def test_every_setting_is_documented() -> None:
    documented = (ROOT / "docs" / "operations.md").read_text()
    missing = [setting.variable for setting in SETTINGS if f"`{setting.variable}`" not in documented]
    assert not missing


def test_every_command_is_documented() -> None:
    from headrace.cli import main

    documented = (ROOT / "docs" / "operations.md").read_text()
    missing = [name for name in main.commands if f"`headrace {name}" not in documented]
    assert not missing
