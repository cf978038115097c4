"""One request of the crowd and its answer, without ASGI's messages in between: from the parser to the endpoint.

It stands where uvicorn's cycle stands, and is to uvicorn's connection what that is.
"""

import asyncio

from starlette.types import Message
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl


class DirectCycle:
    """What has come of a request, and what is to become of its connection."""

    __slots__ = (
        "_arrived", "_flow", "body", "disconnected", "keep_alive", "more_body", "response_complete", "task",
    )  # fmt: skip

    response_started = False
    """It begins and ends at once."""

    task: "asyncio.Task[None]"
    """What answers it."""

    def __init__(self, flow: FlowControl, *, keep_alive: bool) -> None:
        self._flow = flow
        self._arrived: asyncio.Future[None] | None = None
        self.keep_alive = keep_alive
        self.body = b""
        """What has come of the body since it was last received."""
        self.more_body = True
        self.response_complete = False
        self.disconnected = False

    @property
    def message_event(self) -> "DirectCycle":
        """What uvicorn sets when the client has gone."""
        return self

    def set(self) -> None:
        """Lets `receive` go on."""
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def feed(self, body: bytes) -> None:
        """Takes some of the body; what comes after the answer is nobody's."""
        if not self.response_complete:
            self.body += body
            if len(self.body) > HIGH_WATER_LIMIT:
                self._flow.pause_reading()
            self.set()

    def feed_end(self) -> None:
        """Takes the end of the body."""
        self.more_body = False
        self.set()

    async def receive(self) -> Message:
        """ASGI's `receive`: what has come of the body, or that the client has gone."""
        while self.more_body and not self.body and not self.disconnected:
            self._flow.resume_reading()
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        if self.disconnected:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}
