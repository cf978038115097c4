"""The path under which a proxy serves the service (BOOKING_ROOT_PATH), whether or not the proxy strips it."""

from starlette.types import ASGIApp, Receive, Scope, Send


def without_root(path: str, root: str) -> str:
    """The path inside the service; `path` itself if it does not begin with `root`, because the proxy strips it."""
    if path == root:
        return "/"
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


class RootPathMiddleware:
    """Gives every request the root as ASGI's `root_path`, and a path that begins with it."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            scope["path"] = self._root + without_root(scope["path"], self._root)
            scope["root_path"] = self._root
        await self._app(scope, receive, send)
