"""Products of many vectors with one: the sums of a plain loop, bit for bit, whatever the shape."""

from __future__ import annotations

import numpy as np
import pytest

from models.products import add_products


@pytest.mark.parametrize("width", [0, 1, 3, 4, 7, 32])
@pytest.mark.parametrize("many", [0, 1, 17, 128])
def test_products_are_added_dimension_by_dimension(width: int, many: int) -> None:
    rng = np.random.default_rng(width * 1000 + many)
    columns, one = rng.normal(size=(width, many)).astype(np.float32), rng.normal(size=width).astype(np.float32)
    found = np.full(many, np.nan, dtype=np.float32)
    add_products(columns, one, found)
    expected = np.zeros(many, dtype=np.float32)
    for d in range(width):
        expected += one[d] * columns[d]
    assert found.tolist() == expected.tolist()
