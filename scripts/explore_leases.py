"""Explores the models of the lease protocol in full, with wider bounds than the tests, then walks deeper by seeds.

A violation ends it and prints what led there.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from replicator.testing.explorer import Model, explore, wander
from replicator.testing.lease_model import DutyModel
from replicator.testing.task_lease_model import TaskModel

_WALK_STEPS = 2000
_DEEP: tuple[Model[Any], ...] = (
    DutyModel(replicas=5, terms_max=10_000),
    TaskModel(lives_max=20, epochs_max=50, messages_max=8, lease=6),
)


def main() -> None:
    """Explore, then walk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=2, help="of the node's process")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--messages", type=int, default=2, help="under way at a time")
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--terms", type=int, default=8)
    parser.add_argument("--states-max", type=int, default=20_000_000, help="more would not fit into memory")
    parser.add_argument("--walks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first walk; each adds one")
    options = parser.parse_args()
    models: tuple[Model[Any], ...] = (
        DutyModel(replicas=options.replicas, terms_max=options.terms),
        TaskModel(lives_max=options.lives, epochs_max=options.epochs, messages_max=options.messages),
    )
    for model in models:
        began_s = time.monotonic()
        seen = explore(model, states_max=options.states_max)
        took_s = time.monotonic() - began_s
        print(
            f"{model}: {seen.states} states, {seen.steps} steps, {seen.depth} deep, {took_s:.1f} s",
            flush=True,
        )
    for model in _DEEP:
        seeds = range(options.seed, options.seed + options.walks)
        steps = sum(wander(model, seed=seed, steps=_WALK_STEPS) for seed in seeds)
        print(f"{model}: {steps} steps in {options.walks} walks from seed {options.seed}", flush=True)
    print("no rule was broken, and from every state the end can be reached")


if __name__ == "__main__":
    main()
