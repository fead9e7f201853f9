"""The service: one address that answers a label per row, and one that says that it lives."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from examples.service.body import Refused, images_of
from nip_runtime.errors import InputError
from nip_runtime.observe import BurstWatch
from nip_runtime.session import DefendedSession

READING_S: Final = 10.0
"""How long a client may take to send its body."""
_CLIENT: Final = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request, and all of them together, may ask for.

    Attributes:
        body_bytes: of one request.
        rows: of one array.
        running: requests that are answered at a time.
        waiting: more than those, that wait; the next is refused with 503.
    """

    body_bytes: int = 8 * 2**20
    rows: int = 64
    running: int = 2
    waiting: int = 16


@dataclass(frozen=True, kw_only=True)
class Service:
    """Answers requests with a session; a watch, if there is one, sees every image that gets a label.

    Attributes:
        session: the file, observed or not.
        limits: see there.
        bursts: looks for near-duplicates, by the client that the header ``X-Client`` names.
        raw: answer what the network says without its defence, to compare.
    """

    session: DefendedSession
    limits: Limits
    bursts: BurstWatch | None = None
    raw: bool = False

    def labels(self, body: bytes, client: str | None) -> str:
        """A line per row, the class's number.

        Raises:
            Refused: see :func:`examples.service.body.images_of`; 422 also for values out of bounds.
        """
        images = images_of(body, self.session.manifest.input, rows=self.limits.rows)
        try:
            answer = self.session.predict(images)
        except InputError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, " ".join(str(error).split())) from error
        if self.bursts is not None:
            self.bursts.see(images, client=client)
        labels = answer.raw_labels if self.raw else answer.labels
        return "".join(f"{label}\n" for label in labels)


def make_app(service: Service) -> Starlette:
    """The application, for uvicorn or any other ASGI server."""
    running = asyncio.Semaphore(service.limits.running)
    admitted = 0

    async def label(request: Request) -> Response:
        nonlocal admitted
        if admitted >= service.limits.running + service.limits.waiting:
            return _line(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once; try again", retry=True)
        admitted += 1
        try:
            client, body = _client(request), await _body(request, service.limits.body_bytes)
            async with running:
                return PlainTextResponse(await run_in_threadpool(service.labels, body, client))
        except Refused as refused:
            return _line(refused.status, str(refused))
        finally:
            admitted -= 1

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("/label", "POST", label),
        ("/health", "GET", health),
    ]
    return Starlette(routes=[Route(path, handler, methods=[verb]) for path, verb, handler in routes])


async def _body(request: Request, most: int) -> bytes:
    """Read the body, never more of it than allowed.

    Raises:
        Refused: 413 if it is longer, 408 if it does not come, 400 if the client hangs up.
    """
    too_long = partial(
        Refused,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"expected at most {most} bytes, got more; make it smaller",
    )
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > most:
        raise too_long()
    parts, length = [], 0
    try:
        async with asyncio.timeout(READING_S):
            async for part in request.stream():
                length += len(part)
                if length > most:
                    raise too_long()
                parts.append(part)
    except TimeoutError as error:
        raise Refused(
            HTTPStatus.REQUEST_TIMEOUT,
            f"expected the body within {READING_S:g} s, got part of it; send it again",
        ) from error
    except ClientDisconnect as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the client hung up") from error
    return b"".join(parts)


def _client(request: Request) -> str | None:
    """Who asks, by the header ``X-Client``; None if it is absent.

    Raises:
        Refused: 400 for a name of other than 1 to 64 visible ASCII characters.
    """
    name = request.headers.get("x-client")
    if name is not None and not _CLIENT.fullmatch(name):
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            "expected an X-Client of 1 to 64 visible ASCII characters, got another; shorten or omit it",
        )
    return name


def _line(status: HTTPStatus, why: str, *, retry: bool = False) -> Response:
    return PlainTextResponse(f"{why}\n", status_code=status, headers={"Retry-After": "1"} if retry else None)
