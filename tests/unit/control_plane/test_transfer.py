from replicator.control_plane.domain import transfer as transfers
from replicator.control_plane.domain.transfer import Transfer


def test_what_a_node_tells_is_what_users_see() -> None:
    told = Transfer(*range(1, len(Transfer._fields) + 1))
    assert transfers.of_wire(transfers.to_wire(told)) == told
    assert transfers.to_wire(told).model_dump() == told._asdict()
