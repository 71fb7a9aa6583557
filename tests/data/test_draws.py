"""Properties of the draw of labelled images that hold for every set of labels."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcube.data.label_subset import draw_labelled
from dcube.errors import DcubeError


@st.composite
def labels_and_count(draw) -> tuple[np.ndarray, int]:
    """One to five classes of one to sixty images in any order, and how many to draw."""
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    labels = np.random.default_rng(draw(st.integers(0, 9))).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return labels, draw(st.integers(len(sizes), len(labels)))


@settings(max_examples=100)
@given(labels_and_count(), st.integers(0, 9))
def test_draw_has_the_requested_count_in_order_and_every_class(case, draw):
    labels, count = case
    drawn = draw_labelled(labels, count, draw)
    assert len(drawn) == count and (np.diff(drawn) > 0).all() and drawn[0] >= 0 and drawn[-1] < len(labels)
    assert set(labels[drawn]) == set(labels)
    assert np.array_equal(drawn, draw_labelled(labels, count, draw))


@settings(max_examples=100)
@given(labels_and_count(), st.integers(0, 9))
def test_class_shares_are_met_within_one_image(case, draw):
    """Each class first gets one image; the rest is shared in proportion to the images left."""
    labels, count = case
    available = np.bincount(labels)
    counts = np.bincount(labels[draw_labelled(labels, count, draw)], minlength=len(available))
    spare = available - 1
    exact = 1 + (count - len(available)) * spare / max(spare.sum(), 1)
    assert (np.abs(counts - exact) < 1).all() and (counts <= available).all()


@settings(max_examples=60)
@given(labels_and_count(), st.integers(0, 9), st.data())
def test_smaller_and_larger_draws_of_a_class_are_nested(case, draw, data):
    """The larger draw may have fewer images of a class; then the smaller draw contains these."""
    labels, count = case
    smaller = data.draw(st.integers(len(set(labels)), count))
    few, many = (draw_labelled(labels, number, draw) for number in (smaller, count))
    for label in set(labels):
        of_few, of_many = (set(drawn[labels[drawn] == label]) for drawn in (few, many))
        assert of_few <= of_many or of_many <= of_few


def test_larger_draw_contains_smaller_draw_if_no_share_shrinks():
    labels = np.arange(400) % 2
    drawn = [set(draw_labelled(labels, count, 0)) for count in (20, 50, 100, 400)]
    assert all(few < many for few, many in itertools.pairwise(drawn))


def test_a_larger_draw_may_have_one_image_fewer_of_a_class():
    """The paradox of the largest-remainder method (Alabama paradox)."""
    labels = np.repeat([0, 1, 2], [2, 4, 4])
    assert [np.bincount(labels[draw_labelled(labels, n, 0)]).tolist() for n in (6, 7)] == [[2, 2, 2], [1, 3, 3]]


def test_draws_with_different_numbers_differ():
    labels = np.arange(100) % 2
    drawn = {tuple(draw_labelled(labels, 10, draw)) for draw in range(20)}
    assert len(drawn) == 20


@pytest.mark.parametrize("count", [1, 7])
def test_count_below_classes_or_above_images_is_refused(count):
    with pytest.raises(DcubeError, match=r"labels\.count: \d images .* choose from 2 to 6"):
        draw_labelled(np.array([0, 0, 0, 1, 1, 1]), count, 0)
