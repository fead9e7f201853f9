"""Warns when a client asks about one image again and again, a little changed each time.

So ask those who attack by queries: HopSkipJump, Boundary and their kin learn the model's border near one
image from the answers to thousands of variants of it.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nip_runtime.errors import InputError
from nip_runtime.observe.fingerprint import SIDE, digests, fingerprints
from nip_runtime.observe.forks import restart_in_children
from nip_runtime.support.arguments import check_share, check_whole

_log = logging.getLogger(__name__)
_MOST_SHOWN: Final = 64


@dataclass(frozen=True, kw_only=True)
class Burst:
    """A client has begun to ask about near-duplicates.

    Attributes:
        client: as named to the watch; None if nobody was named.
        row: of this client's rows, the one at which it was noticed, counted from 1.
        near: near-duplicates among the last ``recent`` rows.
        recent: how many were looked at.
    """

    client: str | None
    row: int
    near: int
    recent: int

    def __str__(self) -> str:
        name = "a client without a name" if self.client is None else f"client {self.client[:_MOST_SHOWN]!r}"
        return (
            f"{name} asks about near-duplicates: {self.near} of the last {self.recent} rows, after "
            f"{self.row} rows; this is what attacks by queries look like, and videos"
        )


@dataclass(frozen=True, kw_only=True)
class BurstState:
    """Where a watch stands.

    Attributes:
        rows: watched so far, repeated ones left out.
        repeated: bit for bit the same as a row that was remembered.
        near: rows that were near-duplicates.
        bursts: that began so far.
        clients: that are remembered now.
        last: the burst that began last; None before the first.
    """

    rows: int
    repeated: int
    near: int
    bursts: int
    clients: int
    last: Burst | None


class BurstWatch:
    """Looks for bursts of near-duplicates among the images of each client.

    A row is a *near-duplicate* if its fingerprint (see :mod:`nip_runtime.observe.fingerprint`) is as close as
    ``distance`` to that of one of the client's last ``window`` rows, and the row is not that row bit for bit:
    who asks the same question again learns nothing. A *burst* begins when ``near_rows`` of the client's last
    ``recent`` rows are near-duplicates, and ends when fewer than half as many are. Each is logged as one
    WARNING.

    What it cannot know: frames of a video, or of a camera that stands still, are near-duplicates too, and so
    are images that look alike when they are small, such as blank pages. Watch one row of each scene, or none
    of such clients. An attacker who knows of it spreads the questions over many clients or a long time: take
    the names of your own authentication, not what a client says of itself.

    An observer sees answers and no images, so hand the images over yourself: :meth:`see`. Several threads may
    share a watch. Pickled, or in a forked child, it starts anew.

    Args:
        window: rows of a client that a new one is compared with.
        distance: root mean square of two fingerprints' difference, as a share of the range of values.
        recent: rows of a client that are looked at for a burst.
        near_rows: near-duplicates among these that make one.
        clients: remembered at most, 18 kB each with the default window; who was silent longest is forgotten.
        bounds: lowest and highest value of float images, as the manifest's ``input.bounds``.

    Raises:
        InputError: if a number is no positive whole one, ``distance`` no share between 0 and 1, or
            ``near_rows`` larger than ``recent``.
    """

    def __init__(
        self,
        *,
        window: int = 256,
        distance: float = 0.02,
        recent: int = 64,
        near_rows: int = 16,
        clients: int = 1024,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        check_whole("window", window)
        check_whole("recent", recent)
        check_whole("near_rows", near_rows, most=recent)
        check_whole("clients", clients)
        check_share("distance", distance)
        if not bounds[0] < bounds[1]:
            raise InputError.mismatch(
                expected="bounds (low, high)", got=repr(bounds), fix="pass the manifest's input.bounds"
            )
        self._window, self._recent, self._near_rows = window, recent, near_rows
        self._distance, self._most_clients, self._bounds = distance, clients, bounds
        self._limit = (distance * 255) ** 2 * SIDE * SIDE
        self.restart()
        restart_in_children(self)

    def restart(self) -> None:
        """Start anew: no client is remembered."""
        self._lock = threading.Lock()
        self._clients: OrderedDict[str | None, _Client] = OrderedDict()
        self._rows = self._repeated = self._near = self._bursts = 0
        self._last: Burst | None = None

    def see(self, images: object, *, client: str | None = None) -> tuple[Burst, ...]:
        """Watch further images of a client, in order; returns the bursts that began with them.

        Args:
            images: N ≥ 0 rows as ``predict`` takes them: uint8 (N, H, W, C) or (N, H, W), or float32
                (N, C, H, W) within the bounds.
            client: who asks; None: nobody is named, and all such rows are one client's.

        Raises:
            InputError: if these are no images.
        """
        array = np.asarray(images)
        small, numbers = fingerprints(array, bounds=self._bounds), digests(array)
        if len(array) == 0:
            return ()
        began: list[Burst] = []
        with self._lock:
            known = self._clients.pop(client, None) or _Client(self._window, self._recent)
            self._clients[client] = known  # the last of all: who was silent longest is the first
            if len(self._clients) > self._most_clients:
                self._clients.popitem(last=False)
            for fingerprint, number in zip(small, numbers, strict=True):
                is_near = known.take(fingerprint, number, self._limit)
                if is_near is None:
                    self._repeated += 1
                    continue
                self._rows += 1
                self._near += is_near
                near = known.near()
                if near >= self._near_rows and not known.in_burst:
                    known.in_burst = True
                    began.append(Burst(client=client, row=known.rows, near=near, recent=self._recent))
                elif 2 * near < self._near_rows:
                    known.in_burst = False
            self._bursts += len(began)
            self._last = began[-1] if began else self._last
        for burst in began:
            _log.warning("%s", burst)
        return tuple(began)

    def state(self) -> BurstState:
        """Rows, near-duplicates and bursts so far, all at one moment."""
        with self._lock:
            return BurstState(
                rows=self._rows,
                repeated=self._repeated,
                near=self._near,
                bursts=self._bursts,
                clients=len(self._clients),
                last=self._last,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        numbers = (self._window, self._distance, self._recent, self._near_rows, self._most_clients)
        return _rebuild, (type(self), *numbers, self._bounds)


class _Client:
    """The last rows of one client, in a ring."""

    def __init__(self, window: int, recent: int) -> None:
        self._small = np.zeros((window, SIDE * SIDE), np.uint8)
        self._numbers = np.zeros(window, np.uint64)
        self._is_near = np.zeros(recent, np.bool_)
        self.rows = 0
        self.in_burst = False

    def take(self, fingerprint: NDArray[np.uint8], number: np.uint64, limit: float) -> bool | None:
        """Compare a row with those before it, and remember it; None, and nothing done, for a repeated one."""
        filled = min(self.rows, len(self._small))
        if (self._numbers[:filled] == number).any():
            return None
        apart = self._small[:filled].astype(np.int32) - fingerprint
        is_near = bool(filled and np.einsum("ij,ij->i", apart, apart).min() <= limit)
        place = self.rows % len(self._small)
        self._small[place], self._numbers[place] = fingerprint, number
        self._is_near[self.rows % len(self._is_near)] = is_near
        self.rows += 1
        return is_near

    def near(self) -> int:
        """Near-duplicates among the recent rows."""
        return int(np.count_nonzero(self._is_near))


def _rebuild(
    kind: type[BurstWatch],
    window: int,
    distance: float,
    recent: int,
    near_rows: int,
    clients: int,
    bounds: tuple[float, float],
) -> BurstWatch:
    return kind(
        window=window,
        distance=distance,
        recent=recent,
        near_rows=near_rows,
        clients=clients,
        bounds=bounds,
    )
