"""`plot`: what a solution looks like, how sure it is, and the spectrum that was learned."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._settings import is_whole, require
from bayeskit.errors import DataError, MethodError
from bayeskit.models.spectral_pde.conditions import Function, Readings, check_function
from bayeskit.models.spectral_pde.equations import Basis, derivative_rows
from bayeskit.models.spectral_pde.given import check_points, evaluate
from bayeskit.models.spectral_pde.solution import Solution
from bayeskit.models.spectral_pde.spectrum import Spectrum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

BANDS = {"90%": 1.6448536, "50%": 0.6744898}
"""Standard deviations on either side of the mean."""
NUM_DRAWS = 5
VISIBLE = 0.01
"""A band is seen where it is wider than this share of the height of the panel."""
MATTERS = 1e-6
"""The share of a component that counts for what the grid must resolve, as in the record of `solve`."""
AT_ONCE = 8
"""Lines of an image that are computed at a time."""
LEFT_OUT = 0.01
"""The share of the pixels of an image on a log scale that may be darker than its darkest colour."""
MEAN, OTHER, EXACT = "C0", "C1", "black"


def plot(
    solution: Solution,
    exact: Function | None = None,
    *,
    readings: Readings | None = None,
    num: int = 300,
) -> Figure:
    """Plot the posterior of a solution of one or two coordinates, and its spectrum.

    Along one coordinate: the mean with bands of 50% and 90% and five draws, where the bands are wide enough to be seen;
    the standard deviation; the spectrum. Over two: images of the mean and of the standard deviation, the first
    coordinate to the right, and both spectra. A spectrum has the power density on the left axis; each stem is a
    component, its height, on the right axis, the share of the variance; frequencies that the grid of the problem does
    not resolve are grey.

    Args:
        solution: from :func:`solve`.
        exact: the true solution, a number or a function of one array a coordinate, computed in float64. It is dashed,
            and its absolute distance from the mean is shown, on a log scale; where that is 0 it is drawn at the
            smallest positive one.
        readings: drawn as points; along one coordinate with bars of one standard deviation of their noise, over two in
            the colours of the image.
        num: points along each coordinate at which the solution is computed.

    Returns:
        A figure of pyplot, not shown.

    Raises:
        DataError: three coordinates; readings of the wrong kind or outside the domain; an exact solution that is not
            finite or of the wrong shape.
        MethodError: `solution` is no solution, or `num` is no integer of at least 2.
        ModelError: `exact` is neither a number nor a function of the coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import spectral_pde as sp
        >>> problem = sp.Problem(
        ...     domain=[(0.0, 1.0)],
        ...     operator=lambda u: u.xx,
        ...     source=lambda x: -jnp.sin(x),
        ...     boundary=jnp.sin,
        ...     num_nodes=20,
        ... )
        >>> solution = sp.solve(problem, spectrum=[sp.Spectrum(1.0, 0.0, 1.0)], key=0)
        >>> figure = sp.plot(solution, jnp.sin)
        >>> [axes.get_xlabel() for axes in figure.axes][:2]
        ['x', 'x']
    """
    if not isinstance(solution, Solution):
        raise MethodError(f"plot takes a Solution, as solve returns it, got {type(solution).__name__}")
    require(is_whole(num) and num >= 2, "num", num, "an integer of at least 2")
    if len(solution.coordinates) > 2:
        names = ", ".join(solution.coordinates)
        raise DataError(
            f"plot draws solutions of one or two coordinates, and this one has {names}: take a slice yourself, "
            "solution.mean(points) and solution.sd(points) with one coordinate fixed"
        )
    if readings is not None:
        if not isinstance(readings, Readings):
            raise DataError(f"readings must be Readings(at, values, sd), got {type(readings).__name__}")
        check_points("at of the readings", np.asarray(readings.at), solution.domain, solution.coordinates)
    shown = _shown(solution, exact, num)
    return _curves(solution, shown, readings) if len(shown.axes) == 1 else _images(solution, shown, readings)


class _Shown(NamedTuple):
    """What is drawn, on a grid with these points along its axes."""

    axes: tuple[np.ndarray, ...]
    mean: np.ndarray
    sd: np.ndarray
    exact: np.ndarray | None


def _shown(solution: Solution, exact: Function | None, num: int) -> _Shown:
    axes = solution.on_grid(num)
    truth = None if exact is None else _exact_values(exact, axes)
    if len(axes) == 1:
        points = axes[0][:, None]
        return _Shown(axes, solution.mean(points), solution.sd(points), truth)
    return _Shown(axes, *_over_grid(solution, axes), truth)


def _exact_values(exact: Function, axes: tuple[np.ndarray, ...]) -> np.ndarray:
    check_function("exact", exact)
    grid = np.meshgrid(*axes, indexing="ij")
    with jax.enable_x64(True):
        values = np.asarray(evaluate("exact", exact, grid, grid[0].shape, {}), np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"exact is not finite at {int((~np.isfinite(values)).sum())} of {values.size} points")
    return values


def _over_grid(solution: Solution, axes: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    r"""The mean and the standard deviation at all pairs, one coordinate after the other.

    With $W = R^{-1}$, the variance is the sum of the squares of $(\phi_x \otimes \phi_y)^\top W$.
    """
    with jax.enable_x64(True):
        every = zip(*solution.basis, axes, strict=True)
        rows = [
            np.asarray(derivative_rows(Basis((one,), (combined,), (layout,)), jnp.asarray(at)[:, None], (0,)))
            for one, combined, layout, at in every
        ]
        root = jnp.asarray(solution.root)
        white = np.asarray(jax.scipy.linalg.solve_triangular(root, jnp.eye(len(root))))
    first, second = rows
    white = white.reshape(first.shape[1], -1)
    variance = []
    for begin in range(0, len(first), AT_ONCE):
        for part in first[begin : begin + AT_ONCE] @ white:
            of_line = second @ part.reshape(second.shape[1], -1)
            variance.append(np.einsum("nr,nr->n", of_line, of_line))
    return first @ solution.coefficients @ second.T, np.sqrt(np.stack(variance))


# ---------------------------------------------------------------- one coordinate


def _curves(solution: Solution, shown: _Shown, readings: Readings | None) -> Figure:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplot_mosaic(
        [["mean", "mean"], ["sd", "spectrum"]], figsize=(10, 6.4), layout="constrained", height_ratios=[1.2, 1]
    )
    _draw_mean(axes["mean"], solution, shown, readings)
    _draw_distances(axes["sd"], solution.coordinates[0], shown)
    _draw_spectrum(axes["spectrum"], solution, 0)
    return figure


def _draw_mean(axes: Any, solution: Solution, shown: _Shown, readings: Readings | None) -> None:
    (x,), mean, sd = shown.axes, shown.mean, shown.sd
    values = mean if readings is None else np.append(mean, readings.values)
    wide = bool(2 * BANDS["90%"] * sd.max() > VISIBLE * np.ptp(values))
    if wide:
        for draw in solution.draw(x[:, None], key=0, num=NUM_DRAWS):
            axes.plot(x, draw, color=MEAN, alpha=0.35, lw=0.7)
        for alpha, (label, reach) in zip((0.18, 0.32), BANDS.items(), strict=True):
            axes.fill_between(x, mean - reach * sd, mean + reach * sd, color=MEAN, alpha=alpha, lw=0, label=label)
    axes.plot(x, mean, color=MEAN, label="mean" if wide else "mean (90% band within the line)")
    if shown.exact is not None:
        axes.plot(x, shown.exact, color=EXACT, ls="--", lw=1, label="exact")
    if readings is not None:
        noise = readings.sd if readings.sd is not None else solution.noise
        at, read = np.asarray(readings.at)[:, 0], np.asarray(readings.values)
        axes.errorbar(at, read, yerr=noise, fmt="o", ms=3, lw=0.8, color="0.25", label="readings")
    axes.set(title="Solution", xlabel=solution.coordinates[0], ylabel="u", xlim=solution.domain[0])
    axes.legend(loc="best", ncols=3)


def _draw_distances(axes: Any, coordinate: str, shown: _Shown) -> None:
    axes.set_yscale("log")
    sd, _ = _positive(shown.sd)
    axes.plot(shown.axes[0], sd, color=MEAN, label="standard deviation")
    if shown.exact is not None:
        error, note = _positive(np.abs(shown.mean - shown.exact))
        axes.plot(shown.axes[0], error, color=OTHER, lw=1, label=f"absolute error{note}")
    title = "Standard deviation" if shown.exact is None else "Standard deviation and error"
    axes.set(title=title, xlabel=coordinate, ylabel="u", xlim=shown.axes[0][[0, -1]])
    axes.legend(loc="best")


def _positive(values: np.ndarray) -> tuple[np.ndarray, str]:
    """For a log scale: zeros at the smallest positive number, and a remark that says so."""
    if values.min() > 0:
        return values, ""
    least = float(values[values > 0].min()) if (values > 0).any() else float(np.finfo(float).eps)
    return np.maximum(values, least), f" (0 to rounding, drawn at {least:.0e})"


# ---------------------------------------------------------------- two coordinates


def _images(solution: Solution, shown: _Shown, readings: Readings | None) -> Figure:
    import matplotlib.pyplot as plt

    sizes = {"Standard deviation": shown.sd}
    if shown.exact is not None:
        sizes["Absolute error"] = np.abs(shown.mean - shown.exact)
    figure = plt.figure(figsize=(10, 6.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.25, 1])
    panels = above.subplots(1, 1 + len(sizes), sharex=True, sharey=True)
    colours = _colours_of_mean(shown.mean if readings is None else np.append(shown.mean, readings.values))
    _draw_image(panels[0], shown, shown.mean, **colours)
    panels[0].set(title="Mean", xlim=solution.domain[0], ylim=solution.domain[1], ylabel=solution.coordinates[1])
    if readings is not None:
        panels[0].scatter(*np.asarray(readings.at).T, c=readings.values, s=18, edgecolors="black", lw=0.7, **colours)
    for axes, (title, values) in zip(panels[1:], sizes.items(), strict=True):
        values, note = _positive(values)
        _draw_image(axes, shown, values, **_colours_of_size(values))
        axes.set_title(title + note)
    for axes in panels:
        axes.set_xlabel(solution.coordinates[0])
    for axis, axes in enumerate(below.subplots(1, 2)):
        _draw_spectrum(axes, solution, axis)
    return figure


def _draw_image(axes: Any, shown: _Shown, values: np.ndarray, extend: str = "neither", **colours: Any) -> None:
    """An image with a pixel around each point."""
    extent: list[float] = []
    for points in shown.axes:
        half = (points[1] - points[0]) / 2
        extent += [points[0] - half, points[-1] + half]
    image = axes.imshow(values.T, origin="lower", extent=extent, aspect="auto", **colours)
    axes.figure.colorbar(image, ax=axes, extend=extend)


def _colours_of_mean(values: np.ndarray) -> dict[str, Any]:
    """Those that diverge from 0 where it is of both signs."""
    low, high = float(values.min()), float(values.max())
    if min(-low, high) > 0.05 * max(-low, high):
        return {"cmap": "RdBu_r", "vmin": -max(-low, high), "vmax": max(-low, high)}
    return {"cmap": "viridis", "vmin": low, "vmax": high}


def _colours_of_size(values: np.ndarray) -> dict[str, Any]:
    """A log scale, but not of less than a decade. The few smallest, where an error changes sign, do not set it."""
    from matplotlib.colors import LogNorm

    low, high = float(np.quantile(values, LEFT_OUT)), float(values.max())
    if high < 10 * low:
        return {"cmap": "viridis"}
    return {"cmap": "viridis", "norm": LogNorm(low, high), "extend": "min"}


# ---------------------------------------------------------------- spectra


def _draw_spectrum(axes: Any, solution: Solution, axis: int) -> None:
    name, spectrum = solution.coordinates[axis], solution.spectrum[axis]
    kept = np.asarray(spectrum.weight) > 0
    centre, share = np.asarray(spectrum.frequency)[kept], spectrum.share[kept]
    width = 1.0 / (2 * math.pi * np.asarray(spectrum.lengthscale)[kept])
    resolved = _resolved(solution, axis)
    right = 1.1 * float((centre + 5 * width).max())
    if resolved is not None:
        beyond = "" if resolved < 1.5 * right else " →"
        right = right if beyond else max(right, 1.1 * resolved)
        axes.axvspan(resolved, max(right, resolved), color="0.9", lw=0)
        place, text = 0.99 * min(resolved, right), f"the grid resolves up to {resolved:.3g}{beyond}"
        how = {"ha": "right", "va": "top", "fontsize": "small", "color": "0.4"}
        axes.text(place, 0.97, text, transform=axes.get_xaxis_transform(), **how)

    bells = (centre[:, None] + width[:, None] * np.linspace(-6, 6, 121)).ravel()
    at = np.unique(np.concatenate([np.linspace(0, right, 400), bells[(bells >= 0) & (bells <= right)]]))
    density, peaks = spectrum.density(at), spectrum.density(centre)
    least = 1e-3 * peaks.min()
    axes.set_yscale("log")
    axes.plot(at, np.maximum(density, 0.1 * least), color=MEAN)
    axes.set(xlim=(-0.02 * right, right), ylim=(least, 30 * peaks.max()))
    axes.set(title=f"Spectrum along {name}", xlabel=f"cycles per unit of {name}", ylabel="power density")
    axes.yaxis.label.set_color(MEAN)

    stems = axes.twinx()
    stems.set_yscale("log")
    bottom = 0.1 * share.min()
    stems.vlines(centre, bottom, share, color=OTHER, lw=1.2)
    stems.plot(centre, share, "o", color=OTHER, ms=4)
    stems.set(ylim=(bottom, 5.0), ylabel="share of the variance")
    stems.yaxis.label.set_color(OTHER)


def _resolved(solution: Solution, axis: int) -> float | None:
    """The highest frequency that the grid of the problem resolves, if the record has it."""
    edges: dict[str, float] = json.loads(solution.tree.attrs.get("edges", "{}"))
    edge = edges.get(solution.coordinates[axis])
    return None if not edge else _highest(solution.spectrum[axis]) / edge


def _highest(spectrum: Spectrum) -> float:
    top = np.asarray(spectrum.frequency) + 3.0 / (2 * math.pi * np.asarray(spectrum.lengthscale))
    return float(top[spectrum.share > MATTERS].max())
