# ruff: noqa: INP001 (a script of the image, in no package)
"""Ask the process of this container whether it can do its work: `healthcheck.py [PORT]`, exit code 0 or 1.

Without PORT it is a control plane or a node on its usual port, or on the one that its variable names. Only
the standard library is used, because this runs every few seconds and must start quickly.
"""

import http.client
import os
import sys

TIMEOUT_S = 2.0


def main() -> None:
    """Return when `GET /ready` answers 200 on one of the ports; else exit with the reasons."""
    problems = [_problem(port) for port in _ports()]
    if all(problems):
        sys.exit("\n".join(problems))


def _ports() -> list[int]:
    if len(sys.argv) > 1:
        return [int(sys.argv[1])]
    return [
        int(os.environ.get("REPLICATOR_CONTROL_PLANE_PORT", "8000")),
        int(os.environ.get("REPLICATOR_NODE_PORT", "9001")),
    ]


def _problem(port: int) -> str:
    """What is wrong with the process on `port`; empty if nothing is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"port {port} does not answer: {error!r}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"GET /ready on port {port} answered {status}"


if __name__ == "__main__":
    main()
