"""What the connections of one worker share."""

from uvicorn.server import ServerState

from booking.web.admission import Admission
from booking.web.anteroom import Anteroom
from booking.web.refusal import Refusal


class WorkerState(ServerState):
    """What uvicorn's connections share, and how many requests may be under way on all of them."""

    def __init__(self, admission: Admission) -> None:
        super().__init__()
        self.admission = admission
        self.anteroom = Anteroom(admission)
        self.nonsense = Refusal("malformed_request")
        self.ending = False
        """Whether every answer is its connection's last."""
