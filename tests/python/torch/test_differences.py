"""Every deliberate difference of differences.py is as it says: on torch's side and on ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cumulus.torch as ct
import pytest
import torch
from differences import DIFFERENCES


def bits_follow_the_sequence_alone() -> None:
    x = torch.randn(64, 4097, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ct.cumsum(x, 1), torch.cumsum(x, 1), rtol=1e-5, atol=1e-4)
    assert torch.equal(ct.cumsum(x.t(), 0), ct.cumsum(x, 1).t())
    assert not torch.equal(ct.cumsum(x, 1), torch.cumsum(x, 1))


def values_without_indices() -> None:
    x = torch.tensor([1.0, 3.0, 2.0])
    with ct.patch():
        values, indices = torch.cummax(x, 0)
    assert torch.equal(ct.cummax(x, 0), values) and indices.tolist() == [0, 1, 1]


def negative_zero_is_smaller() -> None:
    zeros = torch.tensor([0.0, -0.0])
    assert torch.cummax(zeros, 0).values.signbit().tolist() == [False, True]
    assert ct.cummax(zeros, 0).signbit().tolist() == [False, False]
    assert ct.cummin(-zeros, 0).signbit().tolist() == [True, True]


def bool_has_no_maximum() -> None:
    x = torch.tensor([False, True])
    assert torch.cummax(x, 0).values.dtype == torch.bool
    with pytest.raises(RuntimeError, match="convert the input first"):
        ct.cummax(x, 0)
    assert ct.cummax(x.to(torch.uint8), 0).tolist() == [0, 1]


def masks_that_multiply() -> None:
    x, weights = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.0, 2.0])
    assert torch.equal(ct.cumsum(x, 0, mask=weights), torch.cumsum(x * weights, 0))
    assert torch.equal(ct.masked_cumsum(x, 0, mask=weights), torch.masked.cumsum(x, 0, mask=weights.bool()))


def no_axis() -> None:
    x = torch.rand(3)
    with pytest.raises(TypeError, match="axis"):
        ct.cumsum(x, axis=0)  # type: ignore[call-overload]
    with ct.patch():
        torch.testing.assert_close(torch.cumsum(x, axis=0), torch.cumsum(x, 0))  # type: ignore[call-overload]


def out_is_in_place() -> None:
    x = torch.rand(5)
    expected = x.clone().cumsum_(0)
    torch.testing.assert_close(ct.cumsum(x, 0, out=x), expected)
    assert not hasattr(ct, "cumsum_")


CHECKS: dict[str, Callable[[], None]] = {
    "bits of floating-point results": bits_follow_the_sequence_alone,
    "cummax and cummin: result": values_without_indices,
    "cummax and cummin: -0 and +0": negative_zero_is_smaller,
    "cummax and cummin: bool": bool_has_no_maximum,
    "mask of another dtype than bool": masks_that_multiply,
    "axis= for dim=": no_axis,
    "in-place functions": out_is_in_place,
}


def test_every_difference_is_checked() -> None:
    assert [d.what for d in DIFFERENCES] == list(CHECKS)


@pytest.mark.parametrize("what", CHECKS)
def test_difference(what: str) -> None:
    CHECKS[what]()


def test_the_page_has_them_all() -> None:
    """docs/torch_differences.md is this list as a table."""
    rows = [f"| {d.what} | {d.torch} | {d.cumulus} | {d.reason} |" for d in DIFFERENCES]
    page = (Path(__file__).parents[3] / "docs" / "torch_differences.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("|")][2:] == rows
