"""A hundred customers and a hundred terminals of the handbook: live and batch give its published features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from bench.handbook_features import (
    COLUMNS,
    CUSTOMER_COLUMNS,
    HANDBOOK,
    PUBLISHED,
    RAW,
    TERMINAL_COLUMNS,
    Vectors,
    batch_vectors_of,
    compare,
    live_vectors,
)
from stream.table import literal

pytestmark = pytest.mark.skipif(
    not (RAW.is_file() and PUBLISHED.is_file()),
    reason=f"the handbook's files are not in {RAW.parent}; they may not be redistributed",
)
CUSTOMERS = range(7, 4990, 50)
TERMINALS = range(7, 10_000, 100)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Everything that the sampled customers and terminals did, and the published rows of either."""
    folder = tmp_path_factory.mktemp("handbook")
    with duckdb.connect(":memory:") as connection:
        for path in (RAW, PUBLISHED):
            connection.execute(
                f"COPY (SELECT * FROM read_parquet({literal(str(path))})"
                f" WHERE CUSTOMER_ID IN {tuple(CUSTOMERS)} OR TERMINAL_ID IN {tuple(TERMINALS)})"
                f" TO {literal(str(folder / path.name))}"
            )
    yield folder / RAW.name, folder / PUBLISHED.name


def test_fifteen_features_are_declared() -> None:
    assert len(COLUMNS) == len(set(COLUMNS.values())) == 15
    assert set(COLUMNS.values()) <= set(HANDBOOK.names)


@pytest.mark.parametrize("executor", [live_vectors, batch_vectors_of])
def test_the_published_features_come_out(sample: tuple[Path, Path], executor: Callable[[Path], Vectors]) -> None:
    raw, published = sample
    vectors = executor(raw)
    assert vectors.approximate == 0
    customers = compare(vectors, published, CUSTOMER_COLUMNS, "CUSTOMER_ID", CUSTOMERS)
    terminals = compare(vectors, published, TERMINAL_COLUMNS, "TERMINAL_ID", TERMINALS)
    assert (customers.mismatches, customers.at_ties) == (0, 0)
    assert (terminals.mismatches, terminals.at_ties) == (0, 0)
    assert max(customers.largest, terminals.largest) < 1e-9
    assert customers.values > 30_000
    assert terminals.values > 10_000


def test_a_wrong_value_would_be_found(sample: tuple[Path, Path]) -> None:
    raw, published = sample
    vectors = batch_vectors_of(raw)
    vectors.values[:, HANDBOOK.names.index("customer_count_7d")] += 1
    assert compare(vectors, published, CUSTOMER_COLUMNS, "CUSTOMER_ID", CUSTOMERS).mismatches > 3000
