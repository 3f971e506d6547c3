"""Writes .npy files, scans them with `cumulus run`, and checks the results with NumPy: check_with_numpy.py PATH/TO/cumulus"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def scan(cumulus, folder, array, *options):
    np.save(folder / "in.npy", array)
    subprocess.run([cumulus, "run", folder / "in.npy", folder / "out.npy", *options], check=True, stdout=subprocess.DEVNULL)
    return np.load(folder / "out.npy")


def reversed_exclusive(array, axis):
    """Sums of all later elements."""
    flipped = np.flip(np.cumsum(np.flip(array, axis), axis), axis)
    return flipped - array


def cases(random):
    """name, input, options, expected, bound on the error (relative to the sum of magnitudes; 0: equal bits)"""
    f32 = random.standard_normal((777, 4097), dtype=np.float32)
    i64 = random.integers(-(2**62), 2**62, (1023, 515))
    i32 = random.integers(-1000, 1000, (5, 100003), dtype=np.int32)
    mask = random.random(f32.shape) < 0.5
    for axis in (0, 1):
        wide = np.cumsum(f32, axis, np.float64)
        yield f"f32 sum, axis {axis}", f32, ["--axis", axis], wide, 1e-6
    yield (
        "f32 sum, reverse, exclusive",
        f32,
        ["--axis", 1, "--reverse", "--kind", "exclusive"],
        reversed_exclusive(f32.astype(float), 1),
        1e-6,
    )
    yield "f32 sum, masked", f32, ["--axis", 1, "--mask", mask], np.cumsum(np.where(mask, f32, 0), 1, np.float64), 1e-6
    yield "f32 sum to f64", f32, ["--axis", 1, "--dtype", "f64"], np.cumsum(f32, 1, np.float64), 1e-15
    yield "f32 max", f32, ["--axis", 0, "--op", "max"], np.maximum.accumulate(f32, 0), 0
    yield "f32 sum, Fortran order", np.asfortranarray(f32), ["--axis", 1], np.cumsum(f32, 1, np.float64), 1e-6
    yield "i64 sum, wrapping", i64, ["--axis", 0], np.cumsum(i64, 0), 0
    yield "i32 prod, to i64", i32, ["--axis", 1, "--op", "prod"], np.cumprod(i32, 1), 0
    yield "i32 sum, to i64", i32, ["--axis", 1], np.cumsum(i32, 1), 0


def main():
    cumulus = Path(sys.argv[1]).resolve()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, array, options, expected, bound in cases(np.random.default_rng(1)):
            words = []
            for option in options:
                if isinstance(option, np.ndarray):
                    np.save(folder / "mask.npy", option)
                    option = folder / "mask.npy"
                words.append(str(option))
            got = scan(cumulus, folder, array, *words)
            same_form = got.shape == expected.shape and (bound != 0 or got.dtype == expected.dtype)
            if not same_form:
                verdict = f"MISMATCH: {got.dtype}{got.shape}"
            elif bound == 0:
                verdict = "equal" if np.array_equal(got, expected) else "MISMATCH"
            else:
                axis = options[options.index("--axis") + 1]
                error = float(np.max(np.abs(got - expected) / np.sum(np.abs(array), axis, np.float64, keepdims=True)))
                verdict = f"largest error {error:.1e} of the sum of magnitudes" + (
                    "" if error <= bound else f": MISMATCH, over {bound:.0e}"
                )
            failed += "MISMATCH" in verdict
            print(f"cumulus run against NumPy: {title:28} {array.dtype}{array.shape}: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
