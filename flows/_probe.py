"""`tverase probe`: a page on loopback on which a reviewer tries prompts on a registered version.

The page needs a token that only the terminal shows. Requests of other origins and host names are refused before they reach it.
"""

import json
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tverase.errors import ConfigError, NetworkError, TveraseError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tasks._guard import App
    from tasks._review_probe import Probe, Tried

HOST, HEADER = "127.0.0.1", "x-probe-token"
LARGEST = 20_000  # bytes of a request
SAFE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def probe(
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="bomb:3, bomb@candidate, bomb; default: the newest.")
    ] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter of the version: model=FOLDER.")
    ] = [],  # noqa: B006
) -> None:
    """Try prompts on a registered version, in the browser, beside its base model.

    The page is on this machine only. A prompt that brings the concept back can be recorded: it is added to the concept file, and
    the version is not promoted any more. Ctrl-C ends it.

    Example: tverase probe bomb:3
    """
    from tasks._guard import Guard, own_names
    from tasks._review_probe import open_probe

    bound = _bind(port)  # before the models are opened; the end of the process closes it
    opened, token = open_probe(version, set_), secrets.token_urlsafe(24)
    number = bound.getsockname()[1]
    app = Guard(application(opened, token), own_names(HOST, number))
    typer.echo(f"{opened.name} beside its base model: http://{HOST}:{number}/?token={token}\nCtrl-C ends it.")
    _serve(app, bound)


def _bind(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise NetworkError(
            f"cannot listen on {HOST}:{port} ({error.strerror}); choose another --port, or leave it out."
        ) from error


def _serve(app: "App", bound: socket.socket) -> None:
    """Until a signal; what was drawn is forgotten, findings are kept."""
    import uvicorn

    from tasks._quiet import Stopped

    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.5)
    except Stopped as stop:
        server.should_exit = True
        thread.join(3)
        typer.echo("the probe has ended; findings are kept", err=True)
        raise typer.Exit(128 + stop.number) from None


def application(probe: "Probe", token: str) -> "App":
    """The page and its two requests; each needs the token, the requests in a header that no form can send."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, JSONResponse
    from starlette.routing import Route

    def known(given: str | None) -> bool:
        return given is not None and secrets.compare_digest(given.encode(), token.encode())

    async def page(request: "Request") -> "Response":
        if not known(request.query_params.get("token")):
            return JSONResponse({"error": "open the whole address that `tverase probe` has printed."}, 403, SAFE)
        nonce = secrets.token_urlsafe(12)
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
        rest = "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return HTMLResponse(_page(probe, nonce), headers={**SAFE, "Content-Security-Policy": policy + rest})

    def answering(call: Callable[[Mapping[str, Any]], Any]) -> Callable[["Request"], Awaitable["Response"]]:
        async def answer(request: "Request") -> "Response":
            if not known(request.headers.get(HEADER)):
                return JSONResponse({"error": "the token is missing or wrong; open the address again."}, 403, SAFE)
            try:
                return JSONResponse(await run_in_threadpool(call, await _body(request)), headers=SAFE)
            except TveraseError as error:
                return JSONResponse({"error": str(error)}, 400, SAFE)

        return answer

    return Starlette(
        routes=[
            Route("/", page),
            Route("/draw", answering(lambda given: _drawn(probe, given)), methods=["POST"]),
            Route("/record", answering(lambda given: _recorded(probe, given)), methods=["POST"]),
        ]
    )


async def _body(request: "Request") -> Mapping[str, Any]:
    """The JSON object of a request, not longer than a prompt needs."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > LARGEST:
            raise ConfigError(f"the request is longer than {LARGEST:,} bytes; write a shorter prompt.")
    try:
        given = json.loads(content)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ConfigError("expected a JSON object.")
    return given


def _field(given: Mapping[str, Any], name: str, kind: type) -> Any:
    value = given.get(name)
    if type(value) is not kind:
        raise ConfigError(f"{name}: expected {'a whole number' if kind is int else 'text'}, got {value!r}.")
    return value


def _drawn(probe: "Probe", given: Mapping[str, Any]) -> dict[str, Any]:
    tried: Tried = probe.draw(_field(given, "prompt", str), _field(given, "seed", int), _field(given, "count", int))
    return {**vars(tried), "found": tried.found}


def _recorded(probe: "Probe", given: Mapping[str, Any]) -> dict[str, str]:
    return {"said": probe.record(_field(given, "number", int), _field(given, "by", str))}


def _page(probe: "Probe", nonce: str) -> str:
    """The page for this version; its texts are escaped."""
    from html import escape

    text = files(__package__).joinpath("probe.html").read_text(encoding="utf-8")
    tags = probe.version.tags
    filled = {
        "NAME": probe.name,
        "CONCEPTS": ", ".join(one.name for one in probe.concepts),
        "PROMPT": probe.concepts[0].names[0],
        "VERDICT": tags.get("verdict", "not recorded"),
        "WORST": f"{float(tags.get('worst_upper', 1)):.1%}",
        "JUDGE": probe.judge.name,
        "NONCE": nonce,
    }
    for key, value in filled.items():
        text = text.replace(f"[[{key}]]", escape(value))
    return text
