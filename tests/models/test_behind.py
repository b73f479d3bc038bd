"""Which of a visitor's items says most for others: as a loop without any trick finds it."""

from __future__ import annotations

import numpy as np

from models.behind import says_most


def test_the_item_that_says_most_is_found_among_many_neighbours() -> None:
    rng = np.random.default_rng(2)
    n, slots, out_power, prior = 3000, 16, 0.5, 3.0
    items = rng.integers(0, n, (n, slots)).astype(np.int32)
    items[:, 12:] = -1
    weights, total = rng.random((n, slots)).astype(np.float32), rng.random(n).astype(np.float32) * 9
    wanted = rng.choice(n, 40, replace=False).astype(np.int32)
    wanted[:2] = (-1, n + 5)
    amounts = rng.random(40).astype(np.float32)
    amounts[5] = 0.0
    # Some that neighbour the wanted, some that share their marks, some of nobody.
    numbers = np.array([*items[wanted[10:16], 3], *items[wanted[5], :2], *(items[wanted[12], :2] + 1024), 7], np.int32)
    places = np.empty(len(numbers), dtype=np.int32)
    says_most(items, weights, total, wanted, amounts, out_power, prior, numbers, places)
    expected = []
    for number in numbers.tolist():
        best, place = 0.0, -1
        for i, row in enumerate(wanted.tolist()):
            if not 0 <= row < n or amounts[i] <= 0.0:
                continue
            for slot in np.flatnonzero(items[row] == number).tolist():
                said = float(amounts[i] / (prior + float(total[row])) ** out_power * weights[row, slot])
                if said > best:
                    best, place = said, i
        expected.append(place)
    assert places.tolist() == expected
    assert len(set(expected)) > 3
