"""Serves the labels of a defended file on this machine, over HTTP.

    python -m examples.service MODEL.nip.onnx --port 8000 [--metrics-port 9100] [--watch-bursts]
    curl --data-binary @image.png http://127.0.0.1:8000/label

POST /label takes one PNG or JPEG image, or a .npy array (N, ...) as the file's manifest states, and answers
one line per row: the class's number, and nothing else. GET /health answers ok. Metrics are on a port of their
own, so that whoever shows /label to the world does not show what was flagged. SIGTERM and Ctrl-C let requests
finish.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from nip_runtime.errors import InputError, NipError
from nip_runtime.file.artifact import read_artifact
from nip_runtime.file.manifest import InputSpec
from nip_runtime.inputs.images import quieten_opencv
from nip_runtime.observe import BurstWatch, Counters, DriftWatch, Expected, compose
from nip_runtime.observe.prometheus import Watched, register
from nip_runtime.session import DefendedSession
from nip_runtime.support.dependencies import load

_BAD_INPUT: Final = 2
_LOOPBACK: Final = "127.0.0.1"
_GRACE_S: Final = 10
_IDLE_CONNECTIONS: Final = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal ends it; 0 if one did, 2 if something named on the command line does not work."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    quieten_opencv()
    try:
        return _serve(args)
    except NipError as error:
        print(f"service: error: {error}", file=sys.stderr)
        return _BAD_INPUT


def _serve(args: argparse.Namespace) -> int:
    uvicorn: Any = load("uvicorn")
    load("starlette")
    from examples.service.app import Limits, Service, make_app  # imports starlette

    manifest = read_artifact(args.model).manifest
    counters, drift = Counters(), DriftWatch(Expected.from_manifest(manifest))
    bursts = _bursts(manifest.input) if args.watch_bursts else None
    limits = Limits(body_bytes=args.body_bytes, rows=args.rows, running=args.running, waiting=args.waiting)
    watched = Watched(
        args.model.name,
        counters.snapshot,
        drift=drift.state,
        bursts=None if bursts is None else bursts.state,
        manifest=manifest,
    )
    with (
        _listening(args.port) as listening,
        DefendedSession(
            args.model, device=args.device, threads=args.threads, observer=compose(counters, drift)
        ) as session,
    ):
        session.warmup()
        if args.metrics_port is not None:
            _show_metrics(args.metrics_port, watched)
        config = uvicorn.Config(
            make_app(Service(session=session, limits=limits, bursts=bursts, raw=args.raw)),
            access_log=False,
            log_config=None,
            lifespan="off",
            limit_concurrency=_IDLE_CONNECTIONS + limits.running + limits.waiting,
            timeout_graceful_shutdown=_GRACE_S,
            server_header=False,
        )
        server = uvicorn.Server(config)

        def end(number: int, frame: object) -> None:
            server.should_exit = True

        # uvicorn hands signals on to these once it has ended: without them a good end looks like a bad one.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, end)
        print(f"service: http://{_LOOPBACK}:{listening.getsockname()[1]}/label", flush=True)
        server.run(sockets=[listening])
    return 0


def _bursts(spec: InputSpec) -> BurstWatch:
    """A watch for a model of images; for another model it says so now, and not at the first request."""
    bursts = BurstWatch(bounds=spec.bounds)
    bursts.see(np.empty((0, *spec.shape), np.float32))
    return bursts


def _listening(port: int) -> socket.socket:
    """A socket on this machine's own address, which no other can reach."""
    # By the name of its protocol: asyncio sends small answers at once on such sockets alone.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((_LOOPBACK, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise _no_port(port, error) from error
    return listening


def _show_metrics(port: int, watched: Watched) -> None:
    prometheus: Any = load("prometheus_client")
    registry = register(watched, registry=prometheus.CollectorRegistry())
    try:
        prometheus.start_http_server(port, addr=_LOOPBACK, registry=registry)
    except (OSError, OverflowError) as error:
        raise _no_port(port, error) from error


def _no_port(port: int, error: Exception) -> InputError:
    got = getattr(error, "strerror", None) or str(error)
    return InputError.mismatch(expected=f"a free port, {port}", got=got, fix="name another")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.service",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a defended file, .nip.onnx")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (default 8000)")
    parser.add_argument("--metrics-port", type=int, help="serve /metrics for Prometheus on this port as well")
    parser.add_argument(
        "--watch-bursts",
        action="store_true",
        help="warn when a client (header X-Client) asks about near-duplicates, as attacks by queries do",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, auto (default cpu)")
    parser.add_argument("--threads", type=_positive, help="CPU threads of one run")
    parser.add_argument(
        "--body-bytes", type=_positive, default=8 * 2**20, help="of a request (default 8 MiB)"
    )
    parser.add_argument("--rows", type=_positive, default=64, help="of one array (default 64)")
    parser.add_argument("--running", type=_positive, default=2, help="requests answered at once (default 2)")
    parser.add_argument("--waiting", type=_positive, default=16, help="more that may wait (default 16)")
    parser.add_argument("--raw", action="store_true", help="answer what the network says alone, to compare")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
