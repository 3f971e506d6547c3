"""What scans are good for, in five pictures, drawn and measured when this is run.

    python examples/gallery.py FOLDER                  every picture, as FOLDER/<name>.png
    python examples/gallery.py FOLDER --only kinds     one of them: kinds, accuracy, integral_image, moving_average, speed
    python examples/gallery.py FOLDER --quick          smaller arrays

Needs cumulus and matplotlib; `accuracy` shows PyTorch too where it is installed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cumulus
import matplotlib.pyplot as plt
import numpy as np

BLUE, ORANGE, GREEN, GREY, INK = "#0072b2", "#d55e00", "#009e73", "#9aa0a6", "#202124"
REST_S = 0.02  # before a timing: threads of the library measured before spin on for a while
ROUNDS = 9

plt.rcParams.update(
    {
        "figure.dpi": 120,
        "figure.constrained_layout.use": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "font.size": 10,
        "legend.frameon": False,
    }
)


# --- What a call gives -----------------------------------------------------------------------------------------------------------


def kinds(quick: bool) -> Any:
    """Every option on one sequence of eight numbers: each row is one call."""
    x = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    mask = np.array([1, 1, 0, 1, 1, 0, 0, 1], bool)
    rows = [
        ("x", x, "the input"),
        ("cumsum(x)", cumulus.cumsum(x), "inclusive: up to and with each element"),
        ("cumsum(x, exclusive=True)", cumulus.cumsum(x, exclusive=True), "before each element: where a piece begins"),
        ("cumulative_sum(x, include_initial=True)", cumulus.cumulative_sum(x, include_initial=True), "both: one longer"),
        ("cumsum(x, reverse=True)", cumulus.cumsum(x, reverse=True), "what is left, from each element on"),
        ("cumsum(x, mask=mask)", cumulus.cumsum(x, mask=mask), "selected elements only (hatched: left out)"),
        ("cumsum(x, initial=100)", cumulus.cumsum(x, initial=100), "going on from an earlier total"),
        ("cumprod(x)", cumulus.cumprod(x), "products"),
        ("cummax(x)", cumulus.cummax(x), "the largest so far"),
    ]
    figure, axes = plt.subplots(len(rows), 1, figsize=(9.5, 8.6))
    for axis, (call, values, meaning) in zip(axes, rows, strict=True):
        colour = GREY if call == "x" else BLUE
        bars = axis.bar(range(len(values)), values, width=0.72, color=colour)
        axis.bar_label(bars, fontsize=9, padding=1)
        if "mask=" in call:
            for bar, selected in zip(bars, mask, strict=True):
                if not selected:
                    bar.set(facecolor="white", edgecolor=colour, hatch="////", linewidth=0)
        axis.set(xlim=(-0.6, len(x) + 0.6), ylim=(0, 1.45 * max(values)), xticks=[], yticks=[])
        axis.spines["left"].set_visible(False)
        axis.set_ylabel(f"{call}\n", rotation=0, ha="right", va="bottom", family="monospace", fontsize=9)
        axis.text(-0.012, 0.06, meaning, transform=axis.transAxes, ha="right", color="#5f6368", fontsize=8.5)
        axis.yaxis.set_label_coords(-0.012, 0.06)
    figure.suptitle("One sequence, every kind of scan", x=0.01, ha="left", fontsize=13)
    return figure


# --- How accurate it is ----------------------------------------------------------------------------------------------------------


def accuracy(quick: bool) -> Any:
    """Largest relative error of f32 prefix sums, against exact ones, as the sequence grows."""
    largest = 20 if quick else 25
    sizes = [2**k for k in range(7, largest + 1)]
    x = np.random.default_rng(0).random(sizes[-1], dtype=np.float32)
    exact = np.cumsum(x, dtype=np.float64)  # 29 bits more than f32: exact enough to judge it
    scans: dict[str, tuple[Callable[[Any], Any], str]] = {"numpy.cumsum": (np.cumsum, ORANGE)}
    try:
        torch = importlib.import_module("torch")
        scans["torch.cumsum, CPU"] = (lambda x: torch.cumsum(torch.from_numpy(x), 0).numpy(), GREEN)
    except ImportError:
        print("accuracy: without torch, which is not installed")
    scans["cumulus.cumsum"] = (cumulus.cumsum, BLUE)

    figure, axis = plt.subplots(figsize=(8, 4.8))
    for name, (scan, colour) in scans.items():
        # The error of the first n results, for every n at once: another scan.
        error = cumulus.cummax(np.abs(scan(x) - exact) / exact)
        errors = [error[n - 1] for n in sizes]
        axis.loglog(sizes, errors, color=colour, marker="o", markersize=3.5, base=2)
        axis.annotate(name, (sizes[-1], errors[-1]), xytext=(7, 5), textcoords="offset points", color=colour)
    axis.axhline(2**-24, color=GREY, linestyle=":", linewidth=1)
    axis.annotate("one rounding, 2^-24", (sizes[-1], 2**-24), xytext=(7, -11), textcoords="offset points", color="#5f6368", fontsize=8.5)
    axis.set_yscale("log", base=10)
    axis.set(xlim=(sizes[0] / 1.3, sizes[-1] * 40), ylim=(2e-8, None), xlabel="elements", ylabel="largest relative error")
    axis.set_title("f32 sums of uniform numbers")
    axis.set_xticks(sizes[::3])
    axis.grid(axis="y", color="#e8eaed")
    return figure


# --- What it is used for ---------------------------------------------------------------------------------------------------------


def integral_image(quick: bool) -> Any:
    """Sums over any box from four look-ups, by two scans: a blur whose cost does not depend on its radius."""
    size = 256 if quick else 512
    image = _picture(size)
    # Prefixes along both axes: table[i, j] is the sum of image[:i, :j]. f64, so that differences of large sums stay exact enough.
    table = cumulus.cumulative_sum(image, axis=0, dtype=np.float64, include_initial=True)
    table = cumulus.cumulative_sum(table, axis=1, include_initial=True)

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.75))
    panels = [("image", image, "gray"), ("integral image: two scans", table, "viridis")]
    panels += [(f"box blur, radius {radius}", _box_blur(table, radius), "gray") for radius in (size // 64, size // 16)]
    for axis, (title, pixels, colours) in zip(axes, panels, strict=True):
        axis.imshow(pixels, cmap=colours, interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.suptitle("Every box of pixels from four look-ups", x=0.01, ha="left", fontsize=13)
    return figure


def _picture(size: int) -> Any:
    """Discs on a slope, with noise."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[0:size, 0:size] / size
    image = 0.25 + 0.2 * x
    for radius in np.linspace(0.16, 0.03, 28):
        centre_x, centre_y = random.random(2)
        image[np.hypot(x - centre_x, y - centre_y) < radius] = random.random()
    return (image + random.normal(0, 0.12, image.shape)).astype(np.float32)


def _box_blur(table: Any, radius: int) -> Any:
    """The mean of the pixels at most `radius` away in both directions; at the borders, of those there are."""
    rows, columns = (np.arange(n - 1) for n in table.shape)
    top, bottom = np.maximum(rows - radius, 0), np.minimum(rows + radius + 1, len(rows))
    left, right = np.maximum(columns - radius, 0), np.minimum(columns + radius + 1, len(columns))
    sums = table[np.ix_(bottom, right)] - table[np.ix_(top, right)] - table[np.ix_(bottom, left)] + table[np.ix_(top, left)]
    return sums / np.outer(bottom - top, right - left)


def moving_average(quick: bool) -> Any:
    """Exponential moving averages h[i] = (1 - w) h[i - 1] + w x[i]: linear recurrences, here with a gap in the data."""
    random = np.random.default_rng(5)
    hours = np.arange(600) / 10
    signal = 20 + 4 * np.sin(hours / 8) + 3 * (hours > 38)
    x = signal + random.normal(0, 1.3, hours.shape)
    measured = (hours < 20) | (hours > 27)

    figure, axis = plt.subplots(figsize=(10, 4.6))
    axis.plot(hours[measured], x[measured], ".", color=GREY, markersize=3, label="measured")
    axis.axvspan(20, 27, color="#f1f3f4", zorder=0)
    axis.text(23.5, 13.2, "no data: the mask\nkeeps the average", ha="center", fontsize=9, color="#5f6368")
    for w, colour in [(0.3, ORANGE), (0.05, BLUE)]:
        average = cumulus.linear_recurrence(1 - w, w * x, mask=measured, initial=x[0])
        axis.plot(hours, average, color=colour, linewidth=1.6, label=f"linear_recurrence({1 - w:g}, {w:g} * x)")
    w = 0.05
    # From both ends: no lag. Scanning backwards moves nothing in memory.
    backwards = cumulus.linear_recurrence(1 - w, w * x, mask=measured, initial=x[-1], reverse=True)
    both = (cumulus.linear_recurrence(1 - w, w * x, mask=measured, initial=x[0]) + backwards) / 2
    axis.plot(hours, both, color=GREEN, linewidth=1.6, label="mean of forwards and reverse=True")
    axis.set(xlabel="hours", ylabel="degrees", ylim=(11, 32), title="A noisy sensor, smoothed by one scan")
    axis.legend(loc="upper left", ncols=2, fontsize=9)
    return figure


# --- How fast it is --------------------------------------------------------------------------------------------------------------


def speed(quick: bool) -> Any:
    """f32 cumsum along every axis of two arrays into a given output, beside NumPy and a copy of the same bytes."""
    if os.getloadavg()[0] >= 1:
        print(f"speed: the load average is {os.getloadavg()[0]:.0f}: figures from a busy machine mean little", file=sys.stderr)
    shapes: list[tuple[int, ...]] = [(512, 512), (64, 64, 64)] if quick else [(4096, 4096), (256, 256, 256)]
    cases = [(shape, along) for shape in shapes for along in range(len(shape))]
    rates: dict[str, list[float]] = {"numpy.cumsum": [], "cumulus.cumsum": [], "copy": []}
    for shape, along in cases:
        x = np.random.default_rng(0).random(shape, dtype=np.float32)
        out = np.empty_like(x)
        calls: dict[str, Callable[[], object]] = {
            "numpy.cumsum": partial(np.cumsum, x, along, out=out),
            "cumulus.cumsum": partial(cumulus.cumsum, x, along, out=out),
            "copy": partial(np.copyto, out, x),
        }
        for name, seconds in _medians(calls).items():
            rates[name].append(2 * x.nbytes / seconds / 1e9)

    figure, axis = plt.subplots(figsize=(10, 4.8))
    places = np.arange(len(cases))
    for shift, name, colour in [(-0.19, "numpy.cumsum", ORANGE), (0.19, "cumulus.cumsum", BLUE)]:
        bars = axis.bar(places + shift, rates[name], width=0.36, color=colour, label=name)
        axis.bar_label(bars, fmt="%.1f", fontsize=8.5, padding=1)
    axis.hlines(rates["copy"], places - 0.4, places + 0.4, color=INK, linestyle="--", linewidth=1.2, label="numpy.copyto, one thread")
    axis.set_xticks(places, [f"{' x '.join(map(str, shape))}\naxis {along}" for shape, along in cases])
    axis.set(ylabel="GB/s read and written", ylim=(0, 1.25 * max(map(max, rates.values()))))
    cores = len(os.sched_getaffinity(0))
    axis.set_title(f"f32 cumsum along every axis: median of {ROUNDS} rounds, {cumulus.simd_target}, {cores} cores")
    axis.legend(ncols=3, loc="upper left")
    return figure


def _medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each call, the contestants by turns so that a disturbance meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            time.sleep(REST_S)
            start = time.perf_counter()
            call()
            if turn > 0:  # the first warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(measured) for name, measured in times.items()}


PICTURES: dict[str, Callable[[bool], Any]] = {
    "kinds": kinds,
    "accuracy": accuracy,
    "integral_image": integral_image,
    "moving_average": moving_average,
    "speed": speed,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES), metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        path = options.folder / f"{name}.png"
        figure = PICTURES[name](options.quick)
        figure.savefig(path)
        plt.close(figure)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
