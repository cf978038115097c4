"""What the connections of one worker share."""

from uvicorn.server import ServerState

from booking.web.admission import Admission
from booking.web.anteroom import Anteroom
from booking.web.corked import Cork
from booking.web.heads import header_lines
from booking.web.middleware import Frame
from booking.web.refusal import Refusal


class WorkerState(ServerState):
    """What uvicorn's connections share, and how many requests may be under way on all of them."""

    def __init__(self, admission: Admission, frame: Frame | None) -> None:
        """`frame` is the application itself, where nothing is around it that has to see every request."""
        super().__init__()
        self.admission = admission
        self.anteroom = Anteroom(admission)
        self.cork = Cork()
        self.frame = frame
        self._default_lines: tuple[object, bytes] = (None, b"")
        self.nonsense = Refusal("malformed_request")
        self.ending = False
        """Whether every answer is its connection's last."""

    def default_lines(self) -> bytes:
        """The lines of the headers that every answer has; uvicorn makes others once a second."""
        of, lines = self._default_lines
        if of is not self.default_headers:
            lines = header_lines(self.default_headers)
            self._default_lines = self.default_headers, lines
        return lines
