import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.item_search import EXACT_ITEMS_MOST, ApproximateSearch, ExactSearch, ItemSearch, search_over

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def clustered() -> Floats:
    random = np.random.default_rng(3)
    centres = random.standard_normal((40, 16))
    spread = 0.4 * random.standard_normal((6000, 16))
    return (centres[random.integers(0, 40, 6000)] + spread).astype(np.float32)


@pytest.fixture(params=[ExactSearch, ApproximateSearch])
def search(request: pytest.FixtureRequest, clustered: Floats) -> ItemSearch:
    kind: Callable[[Floats], ItemSearch] = request.param
    return kind(clustered)


def true_order(vectors: Floats, vector: Floats) -> NDArray[np.intp]:
    return np.argsort(-(vectors.astype(np.float64) @ vector.astype(np.float64)), kind="stable")


def test_at_least_nine_of_ten_of_the_best_are_found(search: ItemSearch, clustered: Floats) -> None:
    nothing = np.zeros(len(clustered), dtype=np.bool_)
    found = 0
    for row in range(0, 6000, 100):
        best = set(true_order(clustered, clustered[row])[:50].tolist())
        found += len(best & set(search.top(clustered[row], 50, nothing)[0].tolist()))
    assert found >= 0.9 * 60 * 50


def test_what_is_excluded_is_replaced_by_what_comes_next(search: ItemSearch, clustered: Floats) -> None:
    vector = clustered[17]
    order = true_order(clustered, vector)
    excluded = np.zeros(len(clustered), dtype=np.bool_)
    excluded[order[:200]] = True
    rows, scores = search.top(vector, 20, excluded)
    assert len(rows) == 20 and not excluded[rows].any()
    assert len(set(rows.tolist()) & set(order[200:220].tolist())) >= 10
    assert (np.diff(scores) <= 0).all()
    assert scores == pytest.approx(clustered[rows] @ vector, rel=1e-4)


def test_where_all_are_excluded_nothing_is_found(search: ItemSearch, clustered: Floats) -> None:
    rows, scores = search.top(clustered[0], 5, np.ones(len(clustered), dtype=np.bool_))
    assert rows.tolist() == scores.tolist() == []


def test_equal_vectors_come_by_row(search: ItemSearch) -> None:
    same = type(search)(np.ones((300, 4), dtype=np.float32))  # type: ignore[call-arg]
    assert same.top(np.ones(4, dtype=np.float32), 300, np.zeros(300, dtype=np.bool_))[0].tolist() == list(range(300))


def test_a_search_made_again_finds_the_same(search: ItemSearch, clustered: Floats) -> None:
    nothing = np.zeros(len(clustered), dtype=np.bool_)
    again = type(search)(clustered)  # type: ignore[call-arg]
    assert np.array_equal(again.top(clustered[5], 30, nothing)[0], search.top(clustered[5], 30, nothing)[0])


def test_the_number_of_items_chooses_the_search() -> None:
    assert isinstance(search_over(np.zeros((10, 2), dtype=np.float32)), ExactSearch)
    random = np.random.default_rng(0)
    many = random.standard_normal((EXACT_ITEMS_MOST + 1, 2)).astype(np.float32)
    assert isinstance(search_over(many), ApproximateSearch)


TOGETHER = """
import sys
import models.batch_items
import models.item_search
assert "faiss" not in sys.modules, "faiss is imported before it is needed"
import lightgbm, numba, numpy as np, onnxruntime, scipy.linalg, sklearn.ensemble
random = np.random.default_rng(0)
X = random.standard_normal((3000, 8)).astype(np.float32)
search = models.item_search.ApproximateSearch(X)
y = X[:, 0] > 0
lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, y)
sklearn.ensemble.HistGradientBoostingClassifier(max_iter=3).fit(X, y)
rows, _ = search.top(X[0], 5, np.zeros(3000, dtype=np.bool_))
print(len(rows))
"""


@pytest.mark.parametrize("threads", [pytest.param("1", marks=pytest.mark.thorough), "2"])
def test_faiss_lives_with_the_other_compiled_libraries_in_one_process(threads: str) -> None:
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TOGETHER],
        check=True,
        timeout=240,
        capture_output=True,
        text=True,
        env={"OMP_NUM_THREADS": threads, "PATH": "/usr/bin:/bin", "PYTHONPATH": "."},
    )
    assert said.stdout.split() == ["5"]
