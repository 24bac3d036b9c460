"""Who may talk to a server of ours: requests for its own address, and pages that it served itself.

A page of another origin, open in the operator's browser, can send requests to a server on loopback. With a name of its own
that leads there (DNS rebinding) it can read the answers too. Both are refused here, before Prefect or MLflow sees them. A
request without an Origin comes from a program, not from a page.
"""

import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
GRACE = 5.0  # seconds that a server has for a clean end after its parent has gone
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def own_names(host: str, port: int, more: Iterable[str] = ()) -> tuple[str, ...]:
    """The `host:port` that a request may ask for: the loopback names or the bound address, and what `more` adds."""
    bound = (host if ":" not in host else f"[{host.strip('[]')}]").lower()
    names = LOOPBACK if bound in (*LOOPBACK, "0.0.0.0", "[::]") else (bound,)  # noqa: S104 - compared, not bound
    return tuple(dict.fromkeys([*(f"{name}:{port}" for name in names), *(name.lower() for name in more)]))


def origins(names: Iterable[str]) -> tuple[str, ...]:
    """The origins of the pages that a server of these names serves, by itself or behind a proxy with TLS."""
    return tuple(f"{scheme}://{name}" for name in names for scheme in ("http", "https"))


class Guard:
    """An ASGI application that answers 403 to other hosts and origins, and hands on the rest."""

    def __init__(self, app: App, names: Iterable[str]) -> None:
        self.app = app
        self.names = frozenset(name.lower() for name in names)
        self.origins = frozenset(origins(self.names))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request or connection."""
        why = self.refusal(scope) if scope["type"] in ("http", "websocket") else ""
        if not why:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why})  # before it is accepted: 403
        else:
            body = f"{why}\n".encode()
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def refusal(self, scope: Message) -> str:
        """Why this request is refused; empty if it is not."""
        found: dict[bytes, list[str]] = {b"host": [], b"origin": []}
        for name, value in scope["headers"]:
            if name.lower() in found:
                found[name.lower()].append(value.decode("latin-1").strip().lower())
        if len(found[b"host"]) != 1 or found[b"host"][0] not in self.names:
            return "This server does not answer to that host name; start it with --allow HOST:PORT to add one."
        if any(origin not in self.origins for origin in found[b"origin"]):
            return "This server does not take requests from pages of another origin."
        return ""


def follow(parent: int) -> None:
    """End this process soon after `parent` has ended, in whatever way: also one that was killed leaves no server."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="follow").start()
