"""Makes order_fixtures.txt: sequences scanned by an executable definition of the order, for reference_test.cpp.

    python3 make_fixtures.py PATH/TO/order.py > order_fixtures.txt

The test only reads the committed result; this script says how it was made. Inputs are not stored: tests/numbers.cpp makes the same
ones from the same integer formula (bits_of below). A line is one scan:
    op in out kind reverse mask initial fill n seed | hash total k:bits k:bits ...
mask: none, select or multiply. initial: -, or dtype:value. hash covers every result, the samples are for people.
A recurrence takes in2 from seed + 2; masks come from seed + 1.
"""

import importlib.util
import sys

import numpy as np

spec = importlib.util.spec_from_file_location("order", sys.argv[1])
order = importlib.util.module_from_spec(spec)
spec.loader.exec_module(order)
np.seterr(all="ignore")

NP = {
    "f16": np.float16,
    "bf16": np.float32,
    "f32": np.float32,
    "f64": np.float64,
    "bool": np.bool_,
    "c64": np.complex64,
    "c128": np.complex128,
}
NP.update({f"{s}{w}": getattr(np, f"{'u' if s == 'u' else ''}int{w}") for s in "iu" for w in (8, 16, 32, 64)})
REAL, INTS, CPLX = ["f16", "bf16", "f32", "f64"], [f"{s}{w}" for s in "iu" for w in (8, 16, 32, 64)], ["c64", "c128"]
FORMAT = {
    "f16": (11, 5, np.uint16),
    "bf16": (8, 8, np.uint16),
    "f32": (24, 8, np.uint32),
    "f64": (53, 11, np.uint64),
}  # mantissa, exponent bits
PAIRS = [(t, t) for t in REAL + INTS + CPLX]
PAIRS += [(a, b) for a in INTS + ["bool"] for b in ("i64", "u64", "f32", "f64") if a != b] + [
    (a, b) for a in REAL for b in ("f32", "f64") if a != b
]


def mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hashes(seed, n):
    return mix(np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03))


def bf16_bits(x):  # f32 to bf16, to nearest even
    b = x.view(np.uint32).astype(np.uint64)
    r = ((b + np.uint64(0x7FFF) + (b >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), r)


def to_bits(x, t):  # canonical bits, one number an element; complex gives twice as many
    if t in CPLX:
        x, t = x.view(np.float32 if t == "c64" else np.float64), "f32" if t == "c64" else "f64"
    if t not in FORMAT:
        return x.astype(NP[t]).view(np.uint8 if t == "bool" else f"uint{8 * x.itemsize}").astype(np.uint64)
    if t == "bf16":
        return bf16_bits(x).astype(np.uint64)
    nan = {"f16": 0x7E00, "f32": 0x7FC00000, "f64": 0x7FF8000000000000}[t]
    return np.where(np.isnan(x), np.uint64(nan), x.view(FORMAT[t][2]).astype(np.uint64))


def from_bits(b, t):
    if t == "bf16":
        return (b.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return b.astype(FORMAT[t][2]).view(NP[t])


def round_to(v, t):  # f64 values to t
    return from_bits(bf16_bits(v.astype(np.float32)), t) if t == "bf16" else v.astype(NP[t])


def fill(name, t, seed, n):
    """Element j of a real or integer sequence is made from h = hashes(seed)[j]; a complex one from the pair 2j, 2j+1."""
    if t in CPLX:
        part = "f32" if t == "c64" else "f64"
        x = fill("zeros" if name == "units" else name, part, seed, 2 * n)
        if name == "near_one":  # imaginary parts near 0
            v = fill("uniform", part, seed, 2 * n)
            x[1::2] = v[1::2] / NP[part](64)
        if name == "units":  # a power of i
            h = hashes(seed, 2 * n)[::2] & np.uint64(3)
            x[::2], x[1::2] = np.array([1, 0, -1, 0])[h], np.array([0, 1, 0, -1])[h]
        return x.view(NP[t])
    h = hashes(seed, n)
    one = np.uint64(1)
    if t == "bool":
        return (h & np.uint64(15)) > 0 if name == "near_one" else (h & one) > 0
    if t in INTS:
        if name == "near_one":
            h = h | one
        elif name == "zeros":
            h = h & one
        elif name == "small":
            h = (h & np.uint64(15)) - np.uint64(8)
        elif name == "special":
            i = np.iinfo(NP[t])
            table = np.array([i.min % 2**64, i.max, 0, 1], np.uint64)
            h = np.where(h & np.uint64(15) == 0, table[(h >> np.uint64(8)) & np.uint64(3)], h)
        return h.astype(NP[t])
    p, e, u = FORMAT[t]
    width, low = p + e, 2 ** (p - 1)  # `low`: the lowest exponent bit
    v = ((h >> np.uint64(64 - p)).astype(np.int64) - 2 ** (p - 1)).astype(np.float64) * 2.0 ** (1 - p)
    bits, sign = h >> np.uint64(64 - width), np.uint64(1 << (width - 1))
    top, ones = np.uint64(1 << (width - 2)), np.uint64((2**e - 1) * low)
    if name == "uniform":
        return round_to(v, t)
    if name == "near_one":
        return round_to(np.where(h & one == one, -1.0, 1.0) * (1 + v / 64), t)
    if name == "small":
        return round_to(((h & np.uint64(15)).astype(np.int64) - 8).astype(np.float64), t)
    if name == "wide":  # every finite magnitude
        return from_bits(np.where(bits & ones == ones, bits ^ top, bits), t)
    if name == "zeros":
        return from_bits((h & one) * sign, t)
    if name == "tiny":  # subnormals and the smallest normals
        return from_bits(bits & (sign | np.uint64(2 * low - 1)), t)
    if name == "special":
        s, o = int(sign), int(ones)
        one_ = (2 ** (e - 1) - 1) * low
        table = [0, s, one_, s | one_, o, s | o, o | low >> 1, 1, s | 1, low - 1, low, s | low, o - 1, s | (o - 1), one_ + 1, one_ - low]
        return np.where(
            h & np.uint64(15) == 0, from_bits(np.array(table, np.uint64)[(h >> np.uint64(8)) & np.uint64(15)], t), round_to(v, t)
        )
    raise ValueError(name)


INITIAL = {
    "real": ["f64:0.1", "f64:-3.7", "f32:1e30", "f64:-0.0"],
    "int": ["i64:-5", "i64:100000000007"],
    "complex": ["c128:0.1,-0.3", "f64:0.7"],
}


def initial_value(text, acc):
    t, v = text.split(":")
    return NP[acc](
        complex(*map(float, v.split(",")))
        if t == "c128"
        else int(v) % 2**64
        if t == "i64" and acc[0] == "u" and acc == "u64"
        else np.array(int(v)).astype(NP[acc])
        if t == "i64"
        else NP[t](float(v))
    )


def result(op, a, b, kind, reverse, mask, initial, name, n, seed):
    acc = "f32" if b in ("f16", "bf16") else b
    x = fill(name, a, seed, n)
    if a[0] == "i" and b == "u64":  # a cast NumPy does not call same_kind
        x = x.astype(NP[b])
    m = fill("near_one" if op == "prod" else "uniform", a, seed + 1, n) if mask == "multiply" else None
    if m is not None and a[0] == "i" and b == "u64":
        m = m.astype(NP[b])
    if mask == "select":
        m = (hashes(seed + 1, n) & np.uint64(7)) > 0
    first = None if initial == "-" else initial_value(initial, acc)
    if op != "recurrence":
        return order.scan(x, op, NP[acc], kind, reverse, m, first, True)
    y = fill("small" if name == "units" else "uniform", a, seed + 2, n).astype(NP[acc])
    x = x.astype(NP[acc])
    if m is not None:
        x, y = np.where(m, x, NP[acc](1)), np.where(m, y, NP[acc](0))
    h = order.recurrence(*(v[::-1] if reverse else v for v in (x, y)), first)
    r = np.concatenate([[NP[acc](0) if first is None else first], h]).astype(NP[acc])
    res = {"inclusive": r[1:], "exclusive": r[:-1], "prefixes": r}[kind][:: -1 if reverse else 1]
    return np.ascontiguousarray(res), r[-1]


def line(*case):
    op, a, b, kind, reverse, mask, initial, name, n, seed = case
    res, total = result(*case)
    acc = "f32" if b in ("f16", "bf16") else b
    bits = to_bits(np.ascontiguousarray(res.astype(NP[b])), b)
    tot = to_bits(np.array([total], NP[acc]), acc)
    all_ = np.concatenate([bits, tot])
    h = int(np.sum(mix(all_ + np.arange(1, len(all_) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)), dtype=np.uint64))
    at = sorted({0, len(bits) // 2, len(bits) - 1}) if len(bits) else []
    print(
        op,
        a,
        b,
        kind,
        "reverse" if reverse else "forward",
        mask,
        initial,
        name,
        n,
        seed,
        "|",
        f"{h:016x}",
        ",".join(f"{v:x}" for v in tot.tolist()),
        *(f"{k}:{int(bits[k]):x}" for k in at),
    )


FILLS = {
    "sum": ["uniform", "wide", "zeros", "tiny", "special"],
    "prod": ["near_one", "uniform", "tiny", "special"],
    "max": ["wide", "zeros", "special", "tiny"],
    "min": ["wide", "zeros", "special", "tiny"],
    "recurrence": ["near_one", "uniform", "special"],
}


def main():
    seed = 0
    state = np.random.default_rng(1)
    for op in FILLS:
        for a, b in PAIRS:
            if a in CPLX and op in ("max", "min"):
                continue
            sizes = [0, 1, 2, 3, 4, 5, 31, 33, 127, 128, 129, 1000, 4095, 4096, 4097] * 2
            if op == "recurrence":
                sizes = [0, 1, 2, 3, 4, 5, 31, 33, 127, 128, 129, 131, 300] + [4097] * (a == b)
            if a == b and a in ("f16", "bf16", "f32", "f64", "i32", "u8", "c64", "c128") and op != "recurrence":
                sizes += [131071, 131072, 131073, 300001]
            if a == b and a in ("f32", "c64", "f16") and op in ("sum", "prod"):
                sizes += [4194303, 4194304, 4194305]
            for n in sizes:
                seed += 10
                kind = str(state.choice(["inclusive", "exclusive", "prefixes"]))
                masks = ["none", "none", "select"] + ["multiply"] * (a != "bool" and op != "recurrence")
                family = "complex" if b in CPLX else "real" if b in REAL else "int"
                initials = ["-", "-"] + INITIAL[family]
                name = str(state.choice(FILLS[op]))
                if op == "recurrence" and a in CPLX:
                    name = "units"  # exact: NumPy's own complex product fuses on some CPUs
                    initials = ["-", "c128:3,-2"]
                line(op, a, b, kind, bool(state.integers(2)), str(state.choice(masks)), str(state.choice(initials)), name, n, seed)


main()
