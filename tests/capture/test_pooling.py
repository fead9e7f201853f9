from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nip_export.network.pooling import (
    TapKind,
    cell_bounds,
    pool_activation,
    pool_activation_numpy,
    pooled_width,
)
from nip_runtime.errors import ExportError


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 1000))
def test_maps_agree_with_torch_and_numpy(height: int, width: int, cells: int, seed: int) -> None:
    cells = min(cells, height, width)
    a = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    pooled = pool_activation(a, kind=TapKind.MAP2D, cells=cells)
    torch.testing.assert_close(pooled, F.adaptive_avg_pool2d(a, cells).flatten(1))
    assert pooled.shape == (2, pooled_width(TapKind.MAP2D, tuple(a.shape[1:]), cells=cells))
    twin = pool_activation_numpy(a.numpy(), kind=TapKind.MAP2D, cells=cells)
    np.testing.assert_allclose(twin, pooled.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_one_dimensional_maps(cells: int) -> None:
    a = torch.randn(2, 3, 7)
    pooled = pool_activation(a, kind=TapKind.MAP1D, cells=cells)
    torch.testing.assert_close(pooled, F.adaptive_avg_pool1d(a, cells).flatten(1))
    assert pooled.shape[1] == pooled_width(TapKind.MAP1D, (3, 7), cells=cells)
    np.testing.assert_allclose(
        pool_activation_numpy(a.numpy(), kind=TapKind.MAP1D, cells=cells), pooled, rtol=1e-5, atol=1e-6
    )


def test_tokens_are_averaged_over_tokens() -> None:
    a = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    assert pool_activation(a, kind=TapKind.TOKENS).tolist() == [[2.0, 4.0]]
    assert pool_activation_numpy(a.numpy(), kind=TapKind.TOKENS).tolist() == [[2.0, 4.0]]
    assert pooled_width(TapKind.TOKENS, (2, 2), cells=1) == 2


def test_vectors_come_back_unchanged() -> None:
    a = torch.randn(2, 5)
    assert pool_activation(a, kind=TapKind.VECTOR) is a
    assert pooled_width(TapKind.VECTOR, (5,), cells=1) == 5


def test_cells_by_hand() -> None:
    assert cell_bounds(4, 2) == ((0, 2), (2, 4))
    assert cell_bounds(7, 2) == ((0, 4), (3, 7)), "neighbours share the middle row"
    assert cell_bounds(5, 1) == ((0, 5),)


@pytest.mark.parametrize("cells", [0, 5])
def test_impossible_grids_are_refused(cells: int) -> None:
    with pytest.raises(ExportError, match=f"1 to 4 cells.*got {cells}"):
        cell_bounds(4, cells)


def test_wrong_rank_is_refused() -> None:
    with pytest.raises(ExportError, match=r"expected 4 axes.*got 2"):
        pool_activation(torch.zeros(2, 3), kind=TapKind.MAP2D)
    with pytest.raises(ExportError, match=r"expected 2 axes.*got 3"):
        pool_activation_numpy(np.zeros((2, 3, 4)), kind=TapKind.VECTOR)
