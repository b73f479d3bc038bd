import numpy as np
import pytest
from numpy.typing import NDArray

from models.content import LISTED_MOST, TERMS_MOST, Content, terms_of
from models.item_index import ItemFacts

NONE = np.zeros(0, dtype=np.bool_)
NO_ITEMS = np.zeros(0, dtype=np.int32)


def numbers(*values: int) -> NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def film(title: str, category: str, *tags: str) -> ItemFacts:
    return ItemFacts(title, title, category, tags)


@pytest.fixture
def content() -> Content:
    shelf = Content()
    shelf.put(0, film("Alien", "horror", "space", "ship"))
    shelf.put(1, film("Notting Hill", "romance", "london"))
    shelf.put(2, film("Aliens", "horror", "space", "marines"))
    shelf.put(3, film("Pretty Woman", "romance", "city"))
    return shelf


def found(content: Content, *items: int, hidden: NDArray[np.bool_] = NONE) -> list[int]:
    asked = numbers(*items)
    rows, _ = content.scores(asked, np.ones(len(asked), dtype=np.float32), asked, hidden).top(10)
    return [int(row) for row in rows]


def test_a_new_item_that_nobody_visited_is_found_by_visitors_of_items_like_it(content: Content) -> None:
    content.put(9, film("Event Horizon", "horror", "space", "ship"))
    assert found(content, 0) == [9, 2]
    assert content.similar(9, 5, NONE)[0].tolist() == [0, 2]


def test_the_same_terms_are_a_cosine_of_one_and_none_shared_is_no_answer(content: Content) -> None:
    content.put(5, film("Alien", "horror", "space", "ship"))
    rows, scores = content.similar(0, 5, NONE)
    assert rows.tolist() == [5, 2] and scores[0] == pytest.approx(1.0, abs=1e-6) and 0.0 < scores[1] < 1.0


def test_a_rare_term_says_more_than_a_common_one(content: Content) -> None:
    for number in range(100, 150):
        content.put(number, film(f"Number{number}", "horror"))
    content.put(200, film("Unknown", "drama", "ship"))
    order = found(content, 0)
    assert order.index(200) < order.index(149)


def test_removed_hidden_and_seen_items_are_no_answer(content: Content) -> None:
    content.put(4, film("Alien 3", "horror", "space"))
    hidden = np.array([False, False, True])
    assert found(content, 0, hidden=hidden) == [4]
    content.remove(4)
    assert found(content, 0, hidden=hidden) == []
    assert np.isnan(
        content.scores(numbers(0), np.ones(1, dtype=np.float32), NO_ITEMS, NONE).of(numbers(4, -1, 99))
    ).all()


def test_an_item_whose_terms_change_is_found_by_the_new_ones_alone(content: Content) -> None:
    content.put(2, film("Aliens", "romance", "london"))
    assert 2 not in found(content, 0) and found(content, 1)[0] == 2
    content.put(2, film("Aliens", "horror", "space", "marines"))
    assert found(content, 0) == [2] and 2 not in found(content, 1)


def test_putting_the_same_again_changes_nothing(content: Content) -> None:
    before = content.arrays()
    content.put(0, film("Alien", "horror", "space", "ship"))
    after = content.arrays()
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


def test_of_a_common_term_the_newest_items_are_kept(content: Content) -> None:
    for number in range(10, 10 + 2 * LISTED_MOST):
        content.put(number, ItemFacts(str(number), None, "toys"))
    asked = numbers(10 + 2 * LISTED_MOST - 1)
    rows, _ = content.scores(asked, np.ones(1, dtype=np.float32), asked, NONE).top(10_000)
    assert sorted(rows.tolist()) == list(range(10 + LISTED_MOST, 10 + 2 * LISTED_MOST - 1))


def test_of_items_that_are_equally_like_the_newest_come_first(content: Content) -> None:
    for number in range(10, 30):
        content.put(number, ItemFacts(str(number), None, "toys"))
    assert found(content, 12) == list(range(29, 19, -1))


def test_what_was_written_down_answers_and_goes_on_as_what_it_came_from(content: Content) -> None:
    again = Content.from_arrays(content.arrays())
    for shelf in (content, again):
        shelf.put(2, film("Aliens", "romance", "london"))
        shelf.put(70, film("Alien", "horror", "space"))
        shelf.remove(3)
    before, after = content.arrays(), again.arrays()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert found(again, 0) == found(content, 0) == [70]


def test_an_empty_shelf_and_strange_facts_are_no_error() -> None:
    shelf = Content()
    assert found(shelf, 0, -1) == [] and shelf.similar(3, 5, NONE)[0].tolist() == []
    shelf.put(3, ItemFacts("i"))
    shelf.put(4, ItemFacts("j", "\ud800 \x00" + "ж" * 5000, "", tuple(f"t{n}" for n in range(100))))
    assert len(terms_of(ItemFacts("j", None, "c", tuple(f"t{n}" for n in range(100))))) == TERMS_MOST
    assert found(shelf, 3) == []
