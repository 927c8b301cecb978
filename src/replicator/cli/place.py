"""Which node a command is about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from replicator.client.control_plane import ControlPlaneClient
from replicator.client.endpoint import Deadlines
from replicator.client.node import NodeClient
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, NodeName


@dataclass(frozen=True, kw_only=True)
class Place:
    """A node and a bucket on it, as given on the command line, and how the command prints."""

    node: str
    control_plane: str
    json_output: bool
    bucket: str = DEFAULT_BUCKET

    @property
    def bucket_name(self) -> BucketName:
        """The bucket; raises `InvalidRequest` where it is not a name for one."""
        return BucketName.parse(self.bucket)

    @asynccontextmanager
    async def connected(self, deadlines: Deadlines | None = None) -> AsyncIterator[NodeClient]:
        """A client of the node: at its URL, or where the control plane says the name is."""
        url, name = self.node, None
        if "://" not in self.node:
            name = NodeName.parse(self.node)
            async with ControlPlaneClient(self.control_plane) as control_plane:
                url = (await control_plane.node(name)).base_url
        async with NodeClient(url, name=name, deadlines=deadlines) as client:
            yield client
