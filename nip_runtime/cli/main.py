"""Entry point of ``nip``: arguments, logging and one-line errors."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from nip_runtime import __version__
from nip_runtime.cli.commands import Loader, find_commands
from nip_runtime.cli.printable import degrade, printable
from nip_runtime.errors import InputError, NipError
from nip_runtime.support.dependencies import missing

_BAD_INPUT: Final = 2
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141
_NO_ROOM: Final = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What the standard output says where it goes to a file on a full disk, or beyond a limit."""


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage as every other error: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all went well, 1 if some inputs failed, 2 for wrong usage or input. ``--help`` and ``--version``
        raise SystemExit(0), as argparse does.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    degrade(sys.stdout, sys.stderr)  # a pipe of Windows or a plain POSIX locale lacks letters such as ε
    is_traced = any(flag in arguments for flag in ("--traceback", "-v", "--verbose"))
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_stdout()  # `nip predict … | head`: nobody reads on
        return _BROKEN_PIPE
    except KeyboardInterrupt as stop:
        print(f"nip: {' '.join(map(str, stop.args)) or 'stopped'}", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:
        if is_traced:
            traceback.print_exc()
        print(f"nip: error: {_one_line(error)}", file=sys.stderr)
        if _is_no_room(error):
            _let_go_of_stdout()
        return _BAD_INPUT
    return code


def _let_go_of_stdout() -> None:
    """What could not be written must not fail a second time, when Python flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_no_room(error: Exception) -> bool:
    """Whether the answers themselves find no room, not a file with a name."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None


def _one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return str(missing(error))
    text = printable(" ".join(str(error).split()))
    if isinstance(error, NipError):
        return text
    if isinstance(error, OSError) and _is_no_room(error):
        return f"cannot write: {error.strerror}; make room, or write elsewhere"
    return f"{type(error).__name__}: {text} (--traceback shows where)"


def _run(arguments: list[str]) -> int:
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    # Only the help and a wrong name need every command; the others must not pay for importing them.
    only_version = named is None and "--version" in arguments
    loaders = {} if only_version else find_commands()
    parser = _parser({named: loaders[named]} if named is not None and named in loaders else loaders)
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help(sys.stderr)
        return _BAD_INPUT
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="nip: %(message)s", stream=sys.stderr
    )
    code: int = args.run(args)
    return code


_EPILOG = """\
examples:
  nip demo                            see all of it on an embedded network, in some minutes
  nip export --model my_nets:resnet18 --weights resnet18.safetensors --data benign/ --out model.nip.onnx
  nip predict model.nip.onnx photos/

`nip COMMAND --help` explains a command."""


def _parser(loaders: Mapping[str, Loader]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nip",
        description="Makes, checks and runs ONNX files that defend themselves against adversarial images.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nip-runtime {__version__}")
    _add_common(parser, verbose=False, traceback=False)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_Parser
    )
    for name, loader in loaders.items():
        try:
            command = loader()
        except ModuleNotFoundError as error:
            if len(loaders) == 1:
                raise
            commands.add_parser(name, help=f"(unavailable: {_one_line(error)})")
            continue
        child = commands.add_parser(
            name, help=command.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.configure(child)
        _add_common(child, verbose=argparse.SUPPRESS, traceback=argparse.SUPPRESS)
        child.set_defaults(run=command.run)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, verbose: object, traceback: object) -> None:
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=verbose,
        help="say what is going on; full error reports",
    )
    parser.add_argument("--traceback", action="store_true", default=traceback, help="full error reports")


if __name__ == "__main__":
    raise SystemExit(main())
