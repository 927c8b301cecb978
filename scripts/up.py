"""`make up`: a control plane and two nodes on this machine until Ctrl-C. Their data is kept for the next time."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from local_cluster import ClusterError, LocalCluster, Ports, prepare_terminal
from walkthrough import as_curl, migration, register_all, registration

from replicator.data_plane.settings import RPC_PORT_OFFSET

DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "var" / "up"
OBJECT_ID = "demo.bin"
CONTROL_PLANE_DEFAULT = "http://localhost:8000"
_WATCH_SECONDS = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    Ports.add_options(parser)
    parser.add_argument(
        "--dir", type=Path, default=DEFAULT_FOLDER, help="where data and logs are kept (default ./var/up)"
    )
    options = parser.parse_args()
    prepare_terminal()
    try:
        run(options.dir, Ports.chosen(options))
    except (ClusterError, httpx.HTTPError, OSError) as error:
        print(f"up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def run(folder: Path, ports: Ports) -> None:
    """Run the cluster until a signal ends it."""
    ports.refuse_taken("up")
    print(f"Starting a control plane and two nodes; data and logs in {folder}", flush=True)
    try:
        with LocalCluster(folder, ports, join=True, backups=True) as cluster:
            print("All three answer; waiting until the nodes have joined", flush=True)
            register_all(cluster.control_plane_url, cluster.node_urls)
            print(guide(cluster), flush=True)
            while True:
                cluster.watch()
                time.sleep(_WATCH_SECONDS)
    finally:
        print(f"\nStopped. The data is kept in {folder}", flush=True)


def guide(cluster: LocalCluster) -> str:
    """Addresses, and what to try."""
    base, nodes = cluster.control_plane_url, cluster.node_urls
    elsewhere = (
        f"\n  export REPLICATOR_CONTROL_PLANE_URL={base}   # for the replicator command, before it is used\n"
    )
    return f"""
  control plane  {base}  (API: {base}/docs)
  node1          {nodes["node1"]}  (gRPC: {rpc_address(nodes["node1"])})
  node2          {nodes["node2"]}  (gRPC: {rpc_address(nodes["node2"])})
{elsewhere if base != CONTROL_PLANE_DEFAULT else ""}
The walkthrough:
  head -c 50000000 /dev/urandom > {OBJECT_ID}
  curl -T {OBJECT_ID} {nodes["node1"]}/objects/{OBJECT_ID}
  {as_curl(*registration(base, "node1", nodes["node1"]))}
  {as_curl(*registration(base, "node2", nodes["node2"]))}
  {as_curl(*migration(base, OBJECT_ID))}
  curl {base}/jobs
  curl {base}/jobs/1
  curl -f {nodes["node2"]}/objects/{OBJECT_ID} | cmp - {OBJECT_ID}   # once the job has succeeded

Ready. Ctrl-C stops everything."""


def rpc_address(url: str) -> str:
    """Where the node at `url` serves gRPC."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{(parts.port or 0) + RPC_PORT_OFFSET}"


if __name__ == "__main__":
    sys.exit(main())
