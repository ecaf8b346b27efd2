"""What is drawn of a solution: its own numbers, the right way round."""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bayeskit.errors import DataError, MethodError, ModelError
from bayeskit.models import spectral_pde as sp
from bayeskit.models.spectral_pde.plots import _positive

NUM = 11
CHECKED = os.environ.get("BAYESKIT_RUNTIME_TYPES", "0") == "1"
SINE = sp.Spectrum(*np.array([[1.0, 0.1], [0.0, 1.0], [1.0, 2.0]]))
BUMP = sp.Spectrum(1.0, 0.0, 1.0)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def line():
    """Of u'' = -sin, where only noisy readings say which solution: wide bands."""
    at = np.linspace(0.05, 0.95, 5)
    readings = sp.Readings(at, np.sin(at), sd=0.05)
    problem = sp.Problem([(0.0, 1.0)], lambda u: u.xx, lambda x: -jnp.sin(x), boundary={}, data=readings, num_nodes=20)
    return sp.solve(problem, spectrum=[SINE], key=0), readings


@pytest.fixture(scope="module")
def sheet():
    """Of a domain and a solution that are not symmetric, with a time."""
    problem = sp.Problem(
        domain=[(0.0, 1.0), (0.0, 0.5)],
        operator=lambda u: u.t + u.x,
        boundary={"x": (lambda x, t: jnp.sin(x - t), None)},
        initial=jnp.sin,
        num_nodes=(12, 8),
    )
    return sp.solve(problem, spectrum=[BUMP, BUMP], key=0)


def travelling(x, t):
    return jnp.sin(x - t)


def lines(axes):
    return {one.get_label(): one for one in axes.get_lines()}


def test_a_curve(line):
    solution, readings = line
    with jax.enable_x64(False):  # as users have it
        figure = sp.plot(solution, jnp.sin, readings=readings, num=NUM)
    x = np.linspace(0.0, 1.0, NUM)
    upper, lower = figure.axes[:2]

    drawn = lines(upper)
    np.testing.assert_array_equal(drawn["mean"].get_xdata(), x)
    np.testing.assert_array_equal(drawn["mean"].get_ydata(), solution.mean(x[:, None]))
    np.testing.assert_allclose(drawn["exact"].get_ydata(), np.sin(x), rtol=1e-15)  # in float64 all the same
    assert drawn["exact"].get_linestyle() == "--"
    assert sum(label.startswith("_child") for label in drawn) == 5  # draws
    bands = {one.get_label(): one.get_paths()[0].vertices for one in upper.collections if one.get_label()[0] != "_"}
    for label, quantile in (("90%", 1.644853627), ("50%", 0.674489750)):
        top = bands[label][:, 1].max()
        assert top == pytest.approx((solution.mean(x[:, None]) + quantile * solution.sd(x[:, None])).max(), rel=1e-6)
    (bars,) = (one for one in upper.containers if one.get_label() == "readings")
    np.testing.assert_array_equal(bars.lines[0].get_xydata(), np.stack([readings.at[:, 0], readings.values], 1))
    np.testing.assert_allclose(np.diff([bar[:, 1] for bar in bars.lines[2][0].get_segments()])[:, 0], 0.1)
    assert (upper.get_xlabel(), upper.get_xlim()) == ("x", (0.0, 1.0))

    drawn = lines(lower)
    np.testing.assert_array_equal(drawn["standard deviation"].get_ydata(), solution.sd(x[:, None]))
    error = np.abs(solution.mean(x[:, None]) - np.sin(x))
    np.testing.assert_allclose(drawn["absolute error"].get_ydata(), error, atol=1e-15)
    assert lower.get_yscale() == "log"


def test_a_spectrum(line):
    *_, spectrum, stems = sp.plot(line[0], num=NUM).axes
    (density,) = spectrum.get_lines()
    bottom = spectrum.get_ylim()[0]
    seen = density.get_ydata() > bottom
    np.testing.assert_allclose(density.get_ydata()[seen], SINE.density(density.get_xdata()[seen]))
    assert {0.0, 1.0} <= set(density.get_xdata().round(12))  # the tips, however thin
    np.testing.assert_allclose(stems.get_lines()[0].get_xydata(), [[0.0, 1 / 1.1], [1.0, 0.1 / 1.1]])
    assert spectrum.get_xlabel() == "cycles per unit of x"
    assert spectrum.texts[0].get_text() == "the grid resolves up to 9.5 →"  # 19 steps: 9.5 cycles
    assert spectrum.get_xlim()[1] < 9.5


@pytest.mark.parametrize(("edge", "text"), [(0.9, "the grid resolves up to 1.38"), (None, None)])
def test_what_is_not_resolved_is_grey(line, edge, text):
    tree = line[0].tree.copy()
    tree.attrs = {"edges": json.dumps({"x": edge})} if edge else {}
    spectrum = sp.plot(dataclasses.replace(line[0], tree=tree), num=NUM).axes[2]
    assert [one.get_text() for one in spectrum.texts] == ([text] if text else [])
    top = 1.0 + 3.0 / (2 * np.pi * 2.0)
    greys = [(one.get_x(), one.get_x() + one.get_width()) for one in spectrum.patches]
    assert greys == ([pytest.approx((top / edge, spectrum.get_xlim()[1]))] if edge else [])


def test_bands_that_cannot_be_seen_are_said_to_be_there(line):
    certain = dataclasses.replace(line[0], root=1e9 * line[0].root)
    assert "mean (90% band within the line)" in lines(sp.plot(certain, num=NUM).axes[0])


@pytest.mark.filterwarnings("error")
def test_images(sheet):
    figure = sp.plot(sheet, travelling, num=NUM)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == ["Mean", "Standard deviation", "Absolute error"]
    x, t = np.meshgrid(np.linspace(0.0, 1.0, NUM), np.linspace(0.0, 0.5, NUM))  # rows are times
    points = np.stack([x.ravel(), t.ravel()], axis=1)
    mean, sd = (found(points).reshape(NUM, NUM) for found in (sheet.mean, sheet.sd))
    images = [np.asarray(axes.images[0].get_array()) for axes in panels]
    np.testing.assert_allclose(images[0], mean, atol=1e-13)
    np.testing.assert_allclose(images[1], sd, rtol=1e-8)
    np.testing.assert_allclose(images[2], np.abs(mean - np.sin(x - t)), atol=1e-12)
    for axes in panels:
        np.testing.assert_allclose(axes.images[0].get_extent(), [-0.05, 1.05, -0.025, 0.525])  # half a pixel more
        assert axes.images[0].origin == "lower"
        assert (axes.get_xlabel(), axes.get_xlim(), axes.get_ylim()) == ("x", (0.0, 1.0), (0.0, 0.5))
    assert panels[0].get_ylabel() == "t"
    assert panels[0].images[0].get_clim() == (-images[0].max(), images[0].max())  # centred at 0
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert [f"cycles per unit of {name}" in labels for name in "xt"] == [True, True]
    figure.canvas.draw()  # a layout that collapses warns


def test_readings_have_the_colours_of_the_image(sheet):
    readings = sp.Readings(np.array([[0.2, 0.4], [0.9, 0.1]]), np.array([-0.2, 3.0]))
    figure = sp.plot(sheet, readings=readings, num=NUM)
    assert sum(bool(axes.images) for axes in figure.axes) == 2
    (dots,) = figure.axes[0].collections
    np.testing.assert_array_equal(dots.get_offsets(), readings.at)
    np.testing.assert_array_equal(dots.get_array(), readings.values)
    assert dots.get_clim() == figure.axes[0].images[0].get_clim()
    assert dots.get_clim()[1] == 3.0


def test_zeros_on_a_log_scale_are_said():
    shown, note = _positive(np.array([0.0, 1e-9, 2.0]))
    assert (shown.tolist(), note) == ([1e-9, 1e-9, 2.0], " (0 to rounding, drawn at 1e-09)")
    assert _positive(np.zeros(3))[0].min() > 0
    assert _positive(np.ones(3))[1] == ""


def test_misuse(line, sheet):
    solution, readings = line
    cube = dataclasses.replace(solution, coordinates=("x", "y", "z"))
    with pytest.raises(DataError, match=r"one or two coordinates, and this one has x, y, z: take a slice"):
        sp.plot(cube)
    with pytest.raises(MethodError, match="num must be an integer of at least 2, got 1"):
        sp.plot(solution, num=1)
    with pytest.raises(DataError, match=r"at of the readings must have the shape \(points, 2\)"):
        sp.plot(sheet, readings=readings)
    with pytest.raises(DataError, match="exact is not finite at 1 of 11 points"):
        sp.plot(solution, jnp.log, num=NUM)
    with pytest.raises(ModelError, match="exact takes 1 arguments; it is called with 2"):
        sp.plot(sheet, jnp.sin)
    assert not plt.get_fignums()  # nothing half drawn


@pytest.mark.skipif(CHECKED, reason="the signatures refuse these first")
def test_arguments_of_another_type(line):
    solution, readings = line
    with pytest.raises(MethodError, match="plot takes a Solution, as solve returns it, got Readings"):
        sp.plot(readings)
    with pytest.raises(DataError, match=r"readings must be Readings\(at, values, sd\), got tuple"):
        sp.plot(solution, readings=(0.0, 1.0))
    with pytest.raises(ModelError, match="exact takes a number or a function of the coordinates, got 'sin'"):
        sp.plot(solution, "sin")
