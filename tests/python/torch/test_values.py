"""Values: every option against a loop in float64, layouts, dtypes, out=, totals, errors, and defects known elsewhere."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import cumulus.torch as ct
import pytest
import torch
import torch_reference as reference
from torch import Tensor

FUNCTIONS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (ct.cumsum, ct.cumprod, ct.cummax, ct.cummin)}
KINDS: list[dict[str, bool]] = [{}, {"exclusive": True}, {"include_initial": True}]
DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.complex64,
    torch.complex128,
]


def sample(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_complex:
        return torch.randn(shape, dtype=dtype, generator=generator)
    if dtype.is_floating_point:
        return (torch.rand(shape, generator=generator, dtype=torch.float64) * 1.5 + 0.25).to(dtype)
    return torch.randint(0, 2 if dtype == torch.bool else 5, shape, generator=generator).to(dtype)


def layouts(x: Tensor) -> dict[str, Tensor]:
    """The same values in other places."""
    gaps = torch.empty(*x.shape[:-1], 2 * x.shape[-1] + 1, dtype=x.dtype)[..., 1::2]
    shifted = torch.empty(x.numel() + 1, dtype=x.dtype)[1:].view(x.shape)
    turned = torch.empty(x.shape[::-1], dtype=x.dtype).permute(*range(x.dim() - 1, -1, -1))
    return {"contiguous": x, **{k: t.copy_(x) for k, t in {"gaps": gaps, "shifted": shifted, "turned": turned}.items()}}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_option(name: str, dtype: torch.dtype) -> None:
    if dtype.is_complex and name in ("cummax", "cummin"):
        with pytest.raises(RuntimeError, match="complex numbers have no order"):
            FUNCTIONS[name](sample((3,), dtype), 0)
        return
    x = sample((3, 5, 4), dtype)
    select = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(1)) > 0.3
    for dim, kind, reverse, layout in itertools.product((0, 1, -1), KINDS, (False, True), layouts(x).values()):
        rows = [n for i, n in enumerate(x.shape) if i != dim % 3]
        initials = [None, 2, sample(tuple(rows), dtype, 2)]
        for mask, initial in itertools.product((None, select, select[0], sample((3, 5, 4), dtype, 3)), initials):
            options = {"reverse": reverse, "mask": mask, "initial": initial, **kind}
            actual = FUNCTIONS[name](layout, dim, **options)
            expected = reference.scan(name, x, dim, **options)
            wanted = dtype if dtype.is_floating_point or dtype.is_complex or name in ("cummax", "cummin") else torch.int64
            assert actual.dtype == wanted and actual.is_contiguous()
            if not wanted.is_floating_point and not wanted.is_complex:
                limits = torch.iinfo(wanted)
                expected = expected.clamp(limits.min, limits.max)  # the loop's identity is int64's limit
            torch.testing.assert_close(actual, expected.to(wanted), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.complex64], ids=str)
def test_recurrence(dtype: torch.dtype) -> None:
    a, b = sample((3, 5, 4), dtype), sample((3, 5, 4), dtype, 1)
    select = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(1)) > 0.3
    for dim, kind, reverse, mask in itertools.product((0, 1, -1), KINDS, (False, True), (None, select)):
        for initial in (None, sample(tuple(n for i, n in enumerate(b.shape) if i != dim % 3), dtype, 2)):
            options = {"reverse": reverse, "mask": mask, "initial": initial, **kind}
            expected = reference.scan("recurrence", b, dim, a=a, **options)
            torch.testing.assert_close(ct.linear_recurrence(a, b, dim, **options), expected.to(dtype))
    decay = torch.tensor(0.5, dtype=dtype) if dtype.is_floating_point else torch.tensor(2, dtype=dtype)
    for a in (decay, decay.expand(4), decay.item()):
        expected = reference.scan("recurrence", b, 1, a=torch.as_tensor(a, dtype=dtype).expand(b.shape))
        torch.testing.assert_close(ct.linear_recurrence(a, b, 1), expected.to(dtype))


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_dtype_argument_as_torch(name: str) -> None:
    ours, torchs = FUNCTIONS[name], getattr(torch, name)
    dtypes = [*DTYPES, torch.int8, torch.int16, torch.bool]
    for source, target in itertools.product(dtypes, [None, *DTYPES, torch.int8, torch.int16]):
        if source.is_complex and target is not None and not target.is_complex:
            continue  # torch drops the imaginary part with a warning of its own; ours goes the same way, see below
        x = sample((4, 6), source)
        torch.testing.assert_close(ours(x, 1, dtype=target), torchs(x, 1, dtype=target), rtol=1.6e-2, atol=1e-3)
        assert ours(x, 1, dtype=target).dtype == torchs(x, 1, dtype=target).dtype
    z = torch.tensor([1 + 2j, 3 + 4j])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.testing.assert_close(ours(z, 0, dtype=torch.float32), torchs(z, 0, dtype=torch.float32))


def test_float16_accumulates_in_float32() -> None:
    x = torch.full((5000,), 0.1, dtype=torch.float16)
    exact = (torch.arange(1, 5001) * x[0].double()).to(torch.float16)
    assert torch.equal(ct.cumsum(x, 0), exact)
    assert torch.equal(ct.cumsum(torch.ones(4096, dtype=torch.bfloat16), 0)[[255, 511, 4095]].float(), torch.tensor([256.0, 512.0, 4096.0]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_scalars_and_empty(name: str) -> None:
    f = FUNCTIONS[name]
    x = torch.tensor(3.0)
    identity = {"cumsum": 0.0, "cumprod": 1.0, "cummax": -torch.inf, "cummin": torch.inf}[name]
    for dim in (0, -1):
        assert torch.equal(f(x, dim), x)
        assert torch.equal(f(x, dim, exclusive=True), torch.tensor(identity))
        assert torch.equal(f(x, dim, include_initial=True), torch.tensor([identity, 3.0]))
        assert torch.equal(f(x, dim, initial=torch.tensor(3.0)), reference.scan(name, x, 0, initial=3.0).float())
        result, total = f(x, dim, return_total=True, exclusive=True)
        assert torch.equal(result, torch.tensor(identity)) and torch.equal(total, x)
    for shape, dim in (((0,), 0), ((2, 0), 1), ((0, 2), 1), ((2, 0, 3), 0)):
        empty = torch.empty(shape)
        assert f(empty, dim).shape == shape
        longer = f(empty, dim, include_initial=True)
        assert longer.shape[dim] == shape[dim] + 1 and torch.equal(longer, torch.full(longer.shape, identity))
        result, total = f(empty, dim, initial=2.0, return_total=True)
        assert result.shape == shape and torch.equal(total, torch.full(total.shape, 2.0))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_total_goes_on(name: str, kind: dict[str, bool]) -> None:
    x = sample((3, 10), torch.float64)
    for reverse, initial in itertools.product((False, True), (None, sample((3,), torch.float64, 4))):
        options = {"reverse": reverse, "initial": initial, **kind}
        result, total = FUNCTIONS[name](x, 1, return_total=True, **options)
        assert torch.equal(result, FUNCTIONS[name](x, 1, **options))
        all_states = reference.states(name, x, 1, reverse=reverse, initial=initial)
        torch.testing.assert_close(total, all_states[:, 0 if reverse else -1])
        first, second = (x[:, 4:], x[:, :4]) if reverse else (x[:, :4], x[:, 4:])
        _, carry = FUNCTIONS[name](first, 1, return_total=True, **options)
        _, end = FUNCTIONS[name](second, 1, reverse=reverse, initial=carry, return_total=True, **kind)
        torch.testing.assert_close(end, total)
    out = torch.empty(0, dtype=torch.float64)
    result, total = FUNCTIONS[name](x, 1, return_total=True, out=out, **kind)
    assert result is out and torch.equal(out, FUNCTIONS[name](x, 1, **kind))
    total.zero_()
    assert torch.equal(out, FUNCTIONS[name](x, 1, **kind)), "the total is a tensor of its own"


def test_initial_broadcasts() -> None:
    x = sample((3, 4, 5), torch.float64)
    for initial in (
        2.0,
        torch.tensor(2.0),
        torch.full((5,), 2.0),
        torch.full((3, 1), 2.0),
        torch.full((3, 5), 2.0),
        torch.full((1, 1, 5), 2.0),
    ):
        torch.testing.assert_close(ct.cumsum(x, 1, initial=initial), torch.cumsum(x, 1) + 2)
    with pytest.raises(RuntimeError, match=r"cumsum: initial has shape \(4,\), which does not broadcast to \(3, 1, 5\)"):
        ct.cumsum(x, 1, initial=torch.zeros(4))


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_masked_as_torch(name: str) -> None:
    ours, torchs = getattr(ct, f"masked_{name}"), getattr(torch.masked, name)
    x = sample((4, 6), torch.float32)
    x[1, 2] = torch.nan
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) > 0.4
    mask[1, 2] = False
    for source, m in itertools.product((x, x.nan_to_num().int(), x.nan_to_num().bfloat16()), (None, mask, mask[0], mask.int())):
        m = m if source is not x or m is None or m.dim() == 2 else mask
        for dtype in (None, torch.float64):
            actual, expected = ours(source, 1, mask=m, dtype=dtype), torchs(source, 1, mask=None if m is None else m.bool(), dtype=dtype)
            assert actual.dtype == expected.dtype
            torch.testing.assert_close(actual, expected, equal_nan=True, rtol=1.6e-2, atol=1e-3)
    assert not ours(x, 1, mask=mask).isnan().any(), "what is masked out is not looked at"
    torch.testing.assert_close(ours(x, 1, mask=mask, reverse=True), torchs(x.flip(1), 1, mask=mask.flip(1)).flip(1))


def test_out() -> None:
    x = sample((3, 4), torch.float32)
    expected = torch.cumsum(x, 1)
    out = torch.empty(3, 4)
    address = out.data_ptr()
    assert ct.cumsum(x, 1, out=out) is out and out.data_ptr() == address
    torch.testing.assert_close(out, expected)
    strided = torch.empty(4, 6).t()[::2]
    torch.testing.assert_close(ct.cumsum(x, 1, out=strided), expected)
    assert strided.stride() == (2, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ct.cumsum(x, 1, out=torch.empty(0))
    with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
        wrong = torch.ones(2)
        torch.testing.assert_close(ct.cumsum(x, 1, out=wrong), expected)
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype"):
        ct.cumsum(x, 1, dtype=torch.float64, out=torch.empty(3, 4))
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        ct.cumsum(x.clone().requires_grad_(), 1, out=torch.empty(3, 4))
    for dtype in (torch.int64, torch.float64, torch.int32):
        torch.testing.assert_close(
            ct.cumsum(x, 1, out=torch.empty(3, 4, dtype=dtype)), torch.cumsum(x, 1, out=torch.empty(3, 4, dtype=dtype))
        )
    own = x.clone()
    assert ct.cumsum(own, 1, out=own) is own
    torch.testing.assert_close(own, expected)
    own = x.clone()
    with pytest.raises(RuntimeError, match="out overlaps in"):
        ct.cumsum(own.view(-1)[:-1], 0, out=own.view(-1)[1:])


def test_errors() -> None:
    x = torch.rand(3, 4)
    for dim in (2, -3):
        with pytest.raises(IndexError, match=r"Dimension out of range \(expected to be in range of \[-2, 1\], but got"):
            ct.cumsum(x, dim)
        with pytest.raises(IndexError, match="Dimension out of range"):
            ct.cumsum(x, dim, initial=torch.zeros(3), return_total=True)
    with pytest.raises(TypeError, match="exclusive and include_initial exclude each other"):
        ct.cumsum(x, 1, exclusive=True, include_initial=True)
    with pytest.raises(RuntimeError, match=r"mask has shape \(2,\) which does not broadcast to in's \(3, 4\)"):
        ct.cumsum(x, 1, mask=torch.ones(2, dtype=torch.bool))
    with pytest.raises(RuntimeError, match="no scan from bool to bool"):
        ct.cumsum(x > 0.5, 1, dtype=torch.bool)
    with pytest.raises(TypeError, match="give a bool mask, or multiply a or b"):
        ct.linear_recurrence(x, x, 1, mask=x)
    with pytest.raises((ValueError, RuntimeError), match="none that scans are defined for"):
        ct.cumsum(x.to(torch.float8_e4m3fn), 1)
    with pytest.raises((NotImplementedError, RuntimeError)):
        ct.cumsum(x.to_sparse(), 1)


def test_bits_do_not_depend_on_the_way() -> None:
    x = torch.randn(64, 5000, generator=torch.Generator().manual_seed(7))
    expected = ct.cumsum(x, 1)
    assert torch.equal(ct.cumsum(x.t().contiguous(), 0), expected.t()), "along dim 0"
    assert torch.equal(ct.cumsum(x.t(), 0), expected.t()), "strides"
    assert torch.equal(ct.cumsum(x[17], 0), expected[17]), "one row alone"
    assert torch.equal(ct.cumsum(x[:, :4097], 1), expected[:, :4097]), "a longer sequence keeps its beginning"
    assert torch.equal(ct.cumsum(x.flip(1), 1, reverse=True), expected.flip(1)), "reverse is flipped"
    assert torch.equal(ct.cumsum(x, 1, exclusive=True)[:, 1:], expected[:, :-1]), "exclusive is shifted"
    assert torch.equal(ct.cumsum(x, 1, include_initial=True)[:, 1:], expected), "prefixes hold both"
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(ct.cumsum(x, 1), expected)
    finally:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(ct.cumsum(x, 1), expected)
    finally:
        torch.use_deterministic_algorithms(False)


class TestKnownElsewhere:
    """Defects that other libraries had or have: none may be here."""

    def test_small_suffixes_after_large_values(self) -> None:
        x = torch.cat([torch.full((1000,), 1e8), torch.ones(32)])
        assert torch.equal(ct.cumsum(x, 0, reverse=True)[-32:], torch.arange(32.0, 0, -1))

    def test_identical_rows_have_identical_bits(self) -> None:
        row = torch.randn(1001, generator=torch.Generator().manual_seed(3))
        result = ct.cumsum(row.expand(7, -1).contiguous(), 1)
        assert all(torch.equal(result[0], r) for r in result)

    def test_cummax_of_a_view(self) -> None:
        x = torch.randn(6, 40, generator=torch.Generator().manual_seed(4))
        for view in (x.t(), x[:, ::3], x[1::2, 5:].t()):
            for dim in (0, 1):
                assert torch.equal(ct.cummax(view, dim), torch.cummax(view.contiguous(), dim).values)

    def test_infinities_stay(self) -> None:
        x = torch.full((300,), torch.inf)
        assert torch.equal(ct.cumsum(x, 0), x)
        compiled = torch.compile(lambda t: ct.cumsum(t, 0), fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x), x)

    def test_out_of_an_integer_dtype_is_the_same_compiled(self) -> None:
        x = torch.full((8,), 0.6)

        def f(t: Tensor) -> Tensor:
            return ct.cumsum(t, 0, out=torch.empty(8, dtype=torch.int64))

        assert torch.equal(torch.compile(f, fullgraph=True, backend="aot_eager")(x), f(x))
        assert torch.equal(f(x), torch.zeros(8, dtype=torch.int64)), "converted before it is added, as torch.cumsum does"

    def test_flush_to_zero_of_the_caller_is_kept_out_and_kept(self) -> None:
        tiny = torch.full((200,), 1e-40)
        expected = ct.cumsum(tiny, 0)
        assert expected[0] > 0
        assert torch.set_flush_denormal(True)
        try:
            flushed = ct.cumsum(tiny, 0)
            assert (torch.tensor([1e-40]) * 1).item() == 0, "the caller's mode stands"
        finally:
            torch.set_flush_denormal(False)
        assert torch.equal(flushed, expected)

    def test_a_scan_of_a_narrow_integer_makes_no_wide_copy_of_it(self) -> None:
        x = torch.ones(1 << 22, dtype=torch.int8)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            ct.cumsum(x, 0)
        allocated = sum(e.self_cpu_memory_usage for e in profile.events() if e.self_cpu_memory_usage > 0)
        assert allocated < 1.1 * 8 * x.numel(), "the result and nothing else"

    def test_minimum_starts_from_infinity(self) -> None:
        assert ct.cummax(torch.full((3,), -torch.inf), 0, exclusive=True).tolist() == [-torch.inf] * 3


def test_a_lazy_clone_stays_lazy() -> None:
    """A tensor that is only read keeps memory that it shares by copy-on-write."""
    x = torch.rand(100)
    lazy = torch._lazy_clone(x)
    torch.testing.assert_close(ct.cumsum(lazy, 0), torch.cumsum(x, 0))
    assert torch._C._data_address(lazy) == torch._C._data_address(x)
    ct.cumsum(x, 0, out=lazy)
    assert torch._C._data_address(lazy) != torch._C._data_address(x)


@pytest.mark.parametrize("seed", range(40))
def test_random_calls(seed: int) -> None:
    """Lengths about the sizes of quads, segments and chunks, any axis order and steps, against torch in float64."""
    random = torch.Generator().manual_seed(seed)

    def draw(*choices: Any) -> Any:
        return choices[int(torch.randint(len(choices), (), generator=random))]

    n = draw(1, 3, 4, 5, 127, 128, 129, 131, 4095, 4096, 4097, 4225, 9000) + int(torch.randint(3, (), generator=random))
    rows, dim, reverse, kind = draw(1, 2, 3, 17, 70), draw(0, 1), draw(False, True), draw(*KINDS)
    dtype = draw(torch.float32, torch.float64, torch.int32, torch.int64, torch.bfloat16)
    shape = (n, rows) if dim == 0 else (rows, n)
    x = sample((2 * shape[0], shape[1]), dtype, seed)[:: draw(1, 2)][: shape[0]]
    if draw(False, True):
        x = x.t().contiguous().t()
    mask = draw(None, torch.rand(shape, generator=random) > 0.5, torch.rand((n, 1) if dim == 0 else (1, n), generator=random) > 0.5)
    name = draw("cumsum", "cummax")
    actual = FUNCTIONS[name](x, dim, reverse=reverse, mask=mask, initial=1, **kind)

    wide = reference.wide(x)
    if mask is not None:
        wide = torch.where(mask, wide, 0)  # every element is positive: 0 is no maximum either
    first = torch.ones_like(wide.narrow(dim, 0, 1))
    wide = torch.cat([first, wide.flip(dim) if reverse else wide], dim)
    wide = wide.cumsum(dim) if name == "cumsum" else wide.cummax(dim).values
    if not kind.get("include_initial"):
        wide = wide.narrow(dim, 0 if kind.get("exclusive") else 1, n)
    expected = (wide.flip(dim) if reverse else wide).to(actual.dtype)
    torch.testing.assert_close(
        actual, expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-6 if dtype == torch.float32 else 1e-12, atol=0
    )
