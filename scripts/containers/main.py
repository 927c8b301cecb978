"""The command line of `scripts/compose_e2e`, and the order of its two halves: outside and inside the sandbox."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from containers.artefacts import Artefacts, default_cache, obtain
from containers.cluster import Cluster
from containers.engine import Engine, build_images, started_engine
from containers.machine import require_machine
from containers.outcome import SKIPPED_EXIT_CODE, Skipped, StepFailed
from containers.sandbox import run_inside, workspace
from containers.scenario import play
from containers.scenario_ha import play_ha
from containers.steps import step

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "scripts" / "compose_e2e"
_RUN_TIMEOUT_S = 1500.0
_DESCRIPTION = f"""\
Builds the image, starts docker-compose.yml on a container engine of its own, and checks the walkthrough, a
node killed in the middle of a migration, volumes that outlive their containers, users and health checks.

It needs root on Linux x86-64, Python 3.11 and Debian's packages docker.io, mmdebstrap, iproute2 and curl.
No other engine on the machine is touched, no port of it is taken, and everything is gone afterwards except
the cache. A first run needs the network; later ones do not.

exit codes: 0 passed; 1 failed; {SKIPPED_EXIT_CODE} skipped, because the machine lacks what is named
"""


def main() -> NoReturn:
    """Run and exit with the code that says how it ended."""
    options = _parse()
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        if options.inside:
            _inside(options)
        else:
            sys.exit(_outside(options))
    except Skipped as error:
        print(f"SKIPPED compose_e2e: this machine lacks {error}", file=sys.stderr, flush=True)
        sys.exit(SKIPPED_EXIT_CODE)
    except StepFailed as error:
        print(f"FAILED compose_e2e: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    sys.exit(0)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/compose_e2e",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the objects' bytes; default: %(default)s")
    parser.add_argument(
        "--ha",
        action="store_true",
        help="the profile `ha` instead: a hundred jobs while control planes are killed and Postgres is restarted, "
        "with Debian's Postgres and HAProxy in place of the official images",
    )
    parser.add_argument("--inside", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    return parser.parse_args()


def _on_sigterm(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _outside(options: argparse.Namespace) -> int:
    """Check the machine and fetch what is needed, then run the rest in the sandbox."""
    started = time.monotonic()
    require_machine()
    step("base system, wheels and compose plugin")
    obtain(repository=REPOSITORY, cache=options.cache, others=options.ha)
    with workspace() as folder:
        same = ["--cache", str(options.cache), "--seed", str(options.seed), *(["--ha"] if options.ha else [])]
        code = run_inside(
            [sys.executable, str(PROGRAM), *same, "--inside", str(folder)], timeout_s=_RUN_TIMEOUT_S
        )
    if code == 0:
        print(f"PASSED compose_e2e in {time.monotonic() - started:.0f} s", flush=True)
    return code


def _inside(options: argparse.Namespace) -> None:
    folder: Path = options.inside
    artefacts = obtain(repository=REPOSITORY, cache=options.cache, others=options.ha)
    with started_engine(
        folder / "engine", cgroup=f"/{folder.name}", compose_plugin=artefacts.compose_plugin
    ) as engine:
        try:
            _build_and_play(engine, artefacts, folder=folder, options=options)
        except BaseException:
            print(f"--- the engine's log\n{engine.log_tail()}", file=sys.stderr, flush=True)
            raise


def _build_and_play(
    engine: Engine, artefacts: Artefacts, *, folder: Path, options: argparse.Namespace
) -> None:
    step("the image")
    build_images(engine, repository=REPOSITORY, artefacts=artefacts)
    cluster = Cluster(engine=engine, repository=REPOSITORY, profile="ha" if options.ha else None)
    try:
        (play_ha if options.ha else play)(cluster, folder=folder, seed=options.seed)
    except BaseException:
        print(f"--- the containers' logs\n{cluster.logs()}", file=sys.stderr, flush=True)
        raise
    finally:
        cluster.down()
