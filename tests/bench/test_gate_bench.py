from bench.gate import measure


def test_every_figure_is_measured() -> None:
    figures = measure(rounds=200)
    assert len(figures) == 4
    assert all(figure.value > 0 for figure in figures.values())
