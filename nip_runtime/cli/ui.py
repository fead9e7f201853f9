"""``nip ui``: a page in which a defended file runs in the browser, and is attacked there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from nip_runtime.errors import InputError
from nip_runtime.inputs.images import quieten_opencv
from nip_runtime.operate.ui import build_site, fetch_engine, open_server, write_site
from nip_runtime.operate.ui.serve import address_of

NAME: Final = "ui"
HELP: Final = "see a defended file at work, and attack it, in the browser"
_PORT: Final = 8647


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.description = (
        "Serves one page in which the file itself runs, in the browser, through onnxruntime-web.\n"
        "Choose an example, drop an image or take a picture; see what the undefended network and the\n"
        "file say, the gate's tests and the second view; then attack it: prepared adversarial images,\n"
        "a universal perturbation, noise, or a live query attack with a counter of what the defence lost.\n\n"
        "The page loads nothing from anywhere else, and images do not leave the browser. Examples beside\n"
        "the file (model.nip.examples.npz, by nip export --ui-examples or nip demo) are found without\n"
        "being named."
    )
    parser.epilog = (
        "examples:\n"
        "  nip ui --fetch                                    # once: onnxruntime-web, with npm\n"
        "  nip ui nip-demo/model.nip.onnx --report nip-demo/report.json\n"
        "  nip ui model.nip.onnx --images photos/\n"
        "  nip ui model.nip.onnx --static public/            # for any web server\n\n"
        "exit code: 0 ended by Ctrl+C, written or fetched, 2 wrong usage or file"
    )
    parser.add_argument(
        "model", metavar="F.onnx", nargs="?", type=Path, help="defended file of an image classifier"
    )
    parser.add_argument(
        "--images",
        metavar="FOLDER",
        type=Path,
        help="pictures to offer; those in a subfolder named after a class are taken for that class",
    )
    parser.add_argument(
        "--examples", metavar="F.npz", type=Path, help="prepared examples (default: those beside the file)"
    )
    parser.add_argument(
        "--report",
        metavar="JSON",
        type=Path,
        help="report.json of nip evaluate: the page then says what attackers who know the defence leave",
    )
    parser.add_argument(
        "--require-signature", metavar="PUB", help="public key (PEM) whose owner must have signed F.onnx"
    )
    parser.add_argument(
        "--static", metavar="DIR", type=Path, help="write the page there instead of serving it"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="interface to listen on (default 127.0.0.1: this machine alone)"
    )
    parser.add_argument(
        "--port", type=int, default=_PORT, metavar="N", help=f"default {_PORT}; 0 for any that is free"
    )
    parser.add_argument(
        "--fetch", action="store_true", help="fetch onnxruntime-web by the package's lock file; nothing else"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl+C, or write, or fetch."""
    if args.fetch:
        if args.model is not None or args.static is not None:
            raise InputError("expected --fetch alone, got a file or --static too (see nip ui --help)")
        print(f"onnxruntime-web is in {fetch_engine()}")
        return 0
    if args.model is None:
        raise InputError("expected F.onnx, or --fetch (see nip ui --help)")
    quieten_opencv()
    site = build_site(
        args.model,
        images=args.images,
        examples=args.examples,
        report=args.report,
        require_signature=args.require_signature,
    )
    for note in site.notes:
        print(note)
    if args.static is not None:
        write_site(site, args.static)
        size_mib = sum(map(len, site.files.values())) / (1 << 20)
        print(f"{args.static}: {len(site.files)} files, {size_mib:.1f} MiB, for any web server")
        return 0
    with open_server(site, host=args.host, port=args.port) as server:
        print(f"{site.title} is at {address_of(server)} (Ctrl+C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
