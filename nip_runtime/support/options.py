"""Options that several commands have."""

from __future__ import annotations

import argparse


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device D``: where a file runs."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="auto (default), cpu, cuda or cuda:1; auto falls back to cpu",
    )
