from click.testing import CliRunner

from features.fraud import FRAUD
from headrace.cli import main


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(words))
    return result.exit_code, result.output


def test_a_feature_is_shown_with_its_definition() -> None:
    status, text = run("features", "show", "card_count_1h")
    assert status == 0
    assert FRAUD.definition_hash in text
    assert "events of the card within 1h" in text


def test_a_misspelt_feature_suggests_the_nearest() -> None:
    status, text = run("features", "show", "card_cuont_1h")
    assert status == 1
    assert "did you mean 'card_count_1h'?" in text


def test_the_catalogue_lists_every_feature() -> None:
    status, text = run("features", "list")
    assert status == 0
    assert all(name[:12] in text for name in FRAUD.names)


def test_a_bad_setting_names_its_variable() -> None:
    status, text = run("models", "list", "--home", "/nowhere")
    assert status == 0
    assert "models in /nowhere" in text
    status, text = run("worker", "--partitions", "none")
    assert status == 1
    assert "HEADRACE_PARTITIONS='none'" in text


def test_an_unknown_bench_lists_the_known_ones() -> None:
    status, text = run("bench", "everything")
    assert status == 1
    assert "scoring" in text
