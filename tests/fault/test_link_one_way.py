"""Packets pass one way only: a node that is heard, but hears nothing, is no better than one that is gone."""

import random

import pytest

from replicator.testing.linked_cluster import LinkedCluster, pull_over_a_cut
from replicator.testing.netns import Direction

pytestmark = pytest.mark.root


@pytest.mark.parametrize("direction", ["to-first", "to-second"])
def test_a_pull_goes_on_when_both_ways_are_open_again(
    linked: LinkedCluster, seed: int, direction: Direction
) -> None:
    pull_over_a_cut(linked, random.Random(seed), direction)
