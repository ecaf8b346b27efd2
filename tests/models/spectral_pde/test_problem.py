"""Problems: what is made of them, and what each mistake is answered with, in full."""

import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayeskit.errors import DataError, ModelError
from bayeskit.models import spectral_pde as sp

CHECKED = os.environ.get("BAYESKIT_RUNTIME_TYPES", "0") == "1"
LINE, SQUARE, CUBE = [(0.0, 1.0)], [(0.0, 1.0), (0.0, 2.0)], [(0.0, 1.0), (0.0, 2.0), (0.0, 3.0)]


def problem(operator=lambda u: u.xx, domain=LINE, **more):
    return sp.Problem(domain, operator, **({"boundary": 0.0, "num_nodes": 5} | more))


def laplace(u):
    return u.xx + u.yy


def heat(u):
    return u.t - u.xx


@pytest.mark.parametrize(
    ("operator", "domain", "initial", "coordinates"),
    [
        (lambda u: u.xx, LINE, None, ("x",)),
        (lambda u: u.t + u.value, LINE, 1.0, ("t",)),
        (lambda u, t: t * u.value, LINE, 1.0, ("t",)),
        (laplace, SQUARE, None, ("x", "y")),
        (heat, SQUARE, 0.0, ("x", "t")),
        (lambda u, x: x * u.value, SQUARE, 0.0, ("x", "t")),  # by the initial values
        (lambda u: u.xx + u.zz, CUBE, None, ("x", "y", "z")),
        (lambda u: u.t - u.xx - u.yy, CUBE, 0.0, ("x", "y", "t")),
    ],
)
def test_the_last_coordinate_is_a_time_where_something_says_so(operator, domain, initial, coordinates):
    assert problem(operator, domain, initial=initial, boundary={}).coordinates == coordinates


@pytest.mark.parametrize(
    ("operator", "is_linear", "varies"),
    [
        (lambda u: u.xx, True, False),
        (lambda u: u.xx - 3.0 * u.value + 2.0, True, False),  # affine
        (lambda u, x: x * u.xx, True, True),
        (lambda u, x: u.xx + jnp.exp(x), True, True),
        (lambda u: u.value * u.value, False, True),
        (lambda u: u.xx + jnp.abs(u.value), False, True),
        (lambda u: u.xx + 1e-6 * u.value**3, False, True),
        (lambda u: u.xx + u.value * u.x, False, True),
        (lambda u, c: c * u.xx + u.value, True, False),
    ],
)
def test_linear_or_not_is_found_out(operator, is_linear, varies):
    made = problem(operator, coefficients={"c": 2.0})
    assert (made.is_linear, made.linear_operator.varies) == (is_linear, varies)


def test_the_derivatives_that_are_read():
    made = problem(lambda u: u.xy + u.yx + u.yyyy + u.value, SQUARE)
    assert made.linear_operator.terms == ((0, 0), (1, 1), (0, 4))
    assert [made.linear_operator.order(axis) for axis in (0, 1)] == [1, 4]


def test_faces_and_their_values():
    made = problem(
        heat,
        SQUARE,
        boundary={"x": (lambda x, t, c: c * t, sp.Neumann(3.0))},
        initial=lambda x: x,
        coefficients={"c": dist.Uniform(0.0, 4.0)},
        num_nodes=(4, 5),
    )
    low, high, first = made.faces
    assert [(f.axis, f.end, f.order, f.sign) for f in made.faces] == [(0, 0, 0, 1.0), (0, 1, 1, 1.0), (1, 0, 0, 1.0)]
    given = {"c": np.array(5.0)}
    np.testing.assert_allclose(made.face_values(low, given), 5.0 * np.linspace(0.0, 2.0, 5)[None])
    np.testing.assert_allclose(made.face_values(high, given), np.full((1, 5), 3.0))
    np.testing.assert_allclose(made.face_values(first, given), np.linspace(0.0, 1.0, 4)[:, None])
    assert made.reference()["c"] == pytest.approx(2.0, abs=0.15)  # the median of the prior, by 1001 draws
    assert list(made.unknown) == ["c"]
    inner = made.inner_points()  # not on faces where something holds; the last time has nothing
    assert (inner[:, 0].min(), inner[:, 0].max(), inner[:, 1].min(), inner[:, 1].max()) == (1 / 3, 2 / 3, 0.5, 2.0)
    assert made.at_inner(np.zeros((4, 5))).shape == (2, 4)


def test_the_outward_slope_and_a_period():
    made = problem(laplace, SQUARE, boundary={"x": sp.Neumann(1.0), "y": sp.Periodic()})
    assert [(f.axis, f.end, f.order, f.sign, f.wraps) for f in made.faces] == [
        (0, 0, 1, -1.0, False),
        (0, 1, 1, 1.0, False),
        (1, 0, 0, 1.0, True),
        (1, 0, 1, 1.0, True),
    ]


def test_sources():
    x = np.linspace(0.0, 1.0, 5)
    for source in (lambda x: 2.0 * x, 2.0 * x, lambda x, c: c * x):
        made = problem(source=source, coefficients={"c": 2.0})
        np.testing.assert_allclose(made.source_values(made.reference()), 2.0 * x)
    assert problem(source=3.0).source_values({}).tolist() == [3.0] * 5


def test_in_float64_whatever_the_default_is():
    with jax.enable_x64(False):
        made = problem(lambda u: u.xx + u.value**3, source=lambda x: jnp.sin(x), boundary=jnp.cos)
        assert not made.is_linear
        assert made.reference() == {}
        assert all(points.dtype == np.float64 for points in made.nodes())


def test_given_coefficients():
    made = problem(lambda u, a, b: a * u.xx + b * u.x, coefficients={"a": dist.Normal(), "b": 2.0})
    assert made.given({"a": 1.0}) == {"a": 1.0, "b": 2.0}
    assert made.given({"a": 1.0, "b": 3.0}) == {"a": 1.0, "b": 3.0}
    for given, message in [
        (
            None,
            "the coefficients a are unknown: give coefficients={'a': ...}, or infer them, bk.infer(sp.model(problem), "
            "{'at': ..., 'readings': ...}, bk.NUTS(), key=0)",
        ),
        ({"a": 1.0, "aa": 1.0}, "'aa' is no coefficient of the problem; did you mean 'a'?"),
        ({"a": np.nan}, "coefficient 'a' must be finite and of shape (); it is nan"),
        ({"a": np.ones(2)}, "coefficient 'a' must be finite and of shape (); it is [1. 1.]"),
    ]:
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            made.given(given)


MISTAKES = {
    # the operator
    "another shape": (
        ModelError,
        "operator must return one number at a point, where each derivative is one number; it returned shape (2,)",
        lambda: problem(lambda u: jnp.stack([u.xx, u.x])),
    ),
    "unknown derivative": (
        ModelError,
        "u.w is no derivative: the coordinates are x, so that u has u.value, u.x, u.xx and so on, to order 4",
        lambda: problem(lambda u: u.w),
    ),
    "unknown derivative of two": (
        ModelError,
        "u.zz is no derivative: the coordinates are x, y, so that u has u.value, u.x, u.xx, u.xy and so on, to order 4",
        lambda: problem(lambda u: u.zz, SQUARE),
    ),
    "order 5": (
        ModelError,
        "u.xxxxx is of order 5; derivatives go to order 4",
        lambda: problem(lambda u: u.xxxxx),
    ),
    "nothing read": (
        ModelError,
        "operator reads nothing of u: write it with u.value, u.x, u.xx and so on",
        lambda: problem(lambda u: 1.0),
    ),
    "unknown argument": (
        ModelError,
        "operator has the argument 'rat', which is neither a coordinate nor in coefficients; did you mean 'rate'?",
        lambda: problem(lambda u, rat: rat * u.xx, coefficients={"rate": 1.0}),
    ),
    "no arguments": (
        ModelError,
        "operator takes 0 arguments; it is called with 1",
        lambda: problem(lambda: 1.0),
    ),
    "text": (
        ModelError,
        "operator cannot be called at a point: TypeError: object of type 'NoneType' has no len()",
        lambda: problem(lambda u: u.xx + len(None)),
    ),
    # the domain and the grid
    "an interval upside down": (
        DataError,
        "an interval of the domain must have a lower and a higher end; got (1, 0)",
        lambda: problem(domain=[(1.0, 0.0)]),
    ),
    "an interval without end": (
        DataError,
        "an interval of the domain must have a lower and a higher end; got (0, inf)",
        lambda: problem(domain=[(0.0, np.inf)]),
    ),
    "four coordinates": (
        DataError,
        "domain must be one interval for each of 1 to 3 coordinates, [(0.0, 1.0), ...]; got "
        "[(0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)]",
        lambda: problem(domain=4 * LINE),
    ),
    "three ends": (
        DataError,
        "domain must be one interval for each of 1 to 3 coordinates, [(0.0, 1.0), ...]; got [(0.0, 1.0, 2.0)]",
        lambda: problem(domain=[(0.0, 1.0, 2.0)]),
    ),
    "num_nodes of one": (
        DataError,
        "num_nodes must be an integer, or one for each of 2 coordinates; got (5,)",
        lambda: problem(laplace, SQUARE, num_nodes=(5,)),
    ),
    "few nodes": (
        DataError,
        "num_nodes must be at least 4 along every coordinate; got 3",
        lambda: problem(num_nodes=3),
    ),
    # the source
    "source not finite": (
        DataError,
        "source is not finite at 1 of 5 nodes, the first at (0)",
        lambda: problem(source=lambda x: 1.0 / x),
    ),
    "source not finite at some": (
        DataError,
        "source is not finite at 5 of 25 nodes, the first at (0.5, 0)",
        lambda: problem(laplace, SQUARE, source=lambda x, y: jnp.where(x == 0.5, jnp.nan, y)),
    ),
    "source of another shape": (
        DataError,
        "source has the shape (4,); the grid has (5,)",
        lambda: problem(source=np.ones(4)),
    ),
    "source that returns another shape": (
        DataError,
        "source returned an array of shape (2,) for coordinates of shape (5,); it must return one number a point",
        lambda: problem(source=lambda x: x[:2]),
    ),
    "source of too few coordinates": (
        ModelError,
        "source takes 1 arguments; it is called with 2",
        lambda: problem(laplace, SQUARE, source=lambda x: x),
    ),
    "source of an unknown name": (
        ModelError,
        "source has the argument 'c', which is neither a coordinate nor in coefficients; there are none",
        lambda: problem(source=lambda x, c: c * x),
    ),
    "a complex source": (
        DataError,
        "source returned complex numbers; it must return real ones",
        lambda: problem(source=lambda x: 1j * x),
    ),
    # the boundary
    "no boundary": (
        DataError,
        "boundary is missing: give the values of u at the ends, boundary=lambda x: ..., a condition such as Neumann or "
        "Periodic, or a mapping from coordinates to conditions; boundary={} says that nothing is known there",
        lambda: problem(boundary=None),
    ),
    "a coordinate without boundary": (
        DataError,
        "boundary says nothing of y; add 'y': None if nothing is known there",
        lambda: problem(laplace, SQUARE, boundary={"x": 0.0}),
    ),
    "boundary of no coordinate": (
        DataError,
        "boundary has 'z'; the coordinates are x, y",
        lambda: problem(laplace, SQUARE, boundary={"x": 0.0, "z": 0.0}),
    ),
    "three conditions": (
        DataError,
        "boundary of x must be one condition, or a pair for its two ends; got 3",
        lambda: problem(boundary={"x": (0.0, 1.0, 2.0)}),
    ),
    "a period at one end": (
        DataError,
        "boundary at x = 1: Periodic() is a condition on both ends; give it alone, not in a pair",
        lambda: problem(boundary={"x": (0.0, sp.Periodic())}),
    ),
    "boundary value not finite": (
        DataError,
        "boundary at x = 0 is not finite at 1 of 1 nodes, the first at (0)",
        lambda: problem(boundary=jnp.log),
    ),
    "boundary of text": (
        ModelError,
        "boundary at x = 0 takes a number or a function of the coordinates, got 'warm'",
        lambda: problem(boundary="warm"),
    ),
    "a corner": (
        DataError,
        "values disagree at the corner x = 0, t = 0: boundary at x = 0 says 1, initial value at t = 0 says 0",
        lambda: problem(heat, SQUARE, boundary={"x": (1.0, 1.0)}, initial=jnp.sin),
    ),
    "a corner of two faces": (
        DataError,
        "values disagree at the corner x = 0, y = 2: boundary at x = 0 says 2, boundary at y = 2 says 0",
        lambda: problem(laplace, SQUARE, boundary={"x": lambda x, y: y, "y": 0.0}),
    ),
    # the first time
    "no initial values": (
        DataError,
        "initial is missing: the last coordinate is a time; give initial=lambda x: ... with the values of u at t = 0",
        lambda: problem(heat, SQUARE),
    ),
    "one initial value of two": (
        DataError,
        "the equation is of order 2 in time and needs 2 initial values (u, u_t, ...); initial has 1",
        lambda: problem(lambda u: u.tt - u.xx, SQUARE, initial=0.0),
    ),
    "initial of text": (
        ModelError,
        "initial value 1 takes a number or a function of the coordinates, got 'cold'",
        lambda: problem(heat, SQUARE, initial="cold"),
    ),
    "no initial value": (
        DataError,
        "initial is missing: the last coordinate is a time; give initial=... with the values of u at t = 0",
        lambda: problem(lambda u: u.t, boundary=None),
    ),
    "a boundary of time": (
        DataError,
        "boundary is what holds where the space ends, and the only coordinate is a time: give initial, or "
        "boundary={'t': ...} for its two ends",
        lambda: problem(lambda u: u.t, boundary=3.0, initial=1.0),
    ),
    # coefficients
    "a coefficient called as a coordinate": (
        DataError,
        "'x' is the name of a coordinate; call the coefficient something else",
        lambda: problem(coefficients={"x": 1.0}),
    ),
    "a complex coefficient": (
        DataError,
        "coefficient 'c' must be real, got array(0.+1.j)",
        lambda: problem(coefficients={"c": np.array(1j)}),
    ),
    "a coefficient of text": (
        DataError,
        "coefficient 'c' must be a NumPyro distribution or a number, got 'large'",
        lambda: problem(coefficients={"c": "large"}),
    ),
    "a coefficient without a name": (
        DataError,
        "a coefficient is named as an argument of the operator is; 'c 1' is no such name",
        lambda: problem(coefficients={"c 1": 1.0}),
    ),
    # readings
    "a reading outside": (
        DataError,
        "at of the readings: x of row 1 is 1.5, outside the domain (0, 1), where nothing is known",
        lambda: problem(data=sp.Readings(np.array([0.5, 1.5]), np.zeros(2))),
    ),
    "readings of other coordinates": (
        DataError,
        "at of the readings must have the shape (points, 2), a column a coordinate (x, y); it is (3, 1)",
        lambda: problem(laplace, SQUARE, data=sp.Readings(np.zeros(3), np.zeros(3))),
    ),
    "readings NaN": (
        DataError,
        "values of the readings has 1 entries not finite",
        lambda: sp.Readings(np.zeros(2), np.array([np.nan, 1.0])),
    ),
    "complex readings": (
        DataError,
        "values of the readings must be real, got complex128",
        lambda: sp.Readings(np.zeros(2), 1j * np.ones(2)),
    ),
    "places NaN": (
        DataError,
        "at of the readings has 2 entries not finite",
        lambda: sp.Readings(np.full((1, 2), np.inf), np.zeros(1)),
    ),
    "readings of another number": (
        DataError,
        "readings need `at` of shape (readings, coordinates) and as many `values`; got shapes (2,) and (3,)",
        lambda: sp.Readings(np.zeros(2), np.zeros(3)),
    ),
    "no readings": (
        DataError,
        "readings need `at` of shape (readings, coordinates) and as many `values`; got shapes (0,) and (0,)",
        lambda: sp.Readings(np.zeros(0), np.zeros(0)),
    ),
    "a negative sd": (
        DataError,
        "sd of the readings must be a positive number, or None to learn it; got -1.0",
        lambda: sp.Readings(np.zeros(2), np.zeros(2), sd=-1.0),
    ),
    "a value not finite": (
        ModelError,
        "Dirichlet takes a number or a function of the coordinates, got nan",
        lambda: sp.Dirichlet(np.nan),
    ),
    # a spectrum
    "a spectrum of several shapes": (
        DataError,
        "a spectrum needs one weight, frequency and length scale a component; got shapes "
        "{'weight': (2,), 'frequency': (1,), 'lengthscale': (1,)}",
        lambda: sp.Spectrum([1.0, 1.0], 0.0, 1.0),
    ),
    "a negative frequency": (
        DataError,
        "frequency of a spectrum must be 0 or more; it is [-1.]",
        lambda: sp.Spectrum(1.0, -1.0, 1.0),
    ),
    "a length scale of zero": (
        DataError,
        "lengthscale of a spectrum must be positive; it is [0.]",
        lambda: sp.Spectrum(1.0, 1.0, 0.0),
    ),
    "a weight not finite": (
        DataError,
        "weight of a spectrum is not finite: [nan]",
        lambda: sp.Spectrum(np.nan, 1.0, 1.0),
    ),
    "a spectrum of a matrix": (
        DataError,
        "weight of a spectrum must be a vector, an entry a component; its shape is (2, 2)",
        lambda: sp.Spectrum(np.ones((2, 2)), 1.0, 1.0),
    ),
    "a spectrum without power": (
        DataError,
        "a spectrum needs a component with a positive weight",
        lambda: sp.Spectrum(0.0, 1.0, 1.0),
    ),
}
OF_TYPE = {  # what the signatures refuse too
    "an operator that is none": (
        ModelError,
        "operator must be a function such as lambda u: u.xx, got 'u.xx'",
        lambda: problem("u.xx"),
    ),
    "a domain of text": (
        DataError,
        "domain must be one interval for each of 1 to 3 coordinates, [(0.0, 1.0), ...]; got 'unit'",
        lambda: problem(domain="unit"),
    ),
    "num_nodes of text": (
        DataError,
        "num_nodes must be an integer, or one for each of 1 coordinates; got '9'",
        lambda: problem(num_nodes="9"),
    ),
    "half a node": (
        DataError,
        "num_nodes must be an integer, or one for each of 1 coordinates; got 9.5",
        lambda: problem(num_nodes=9.5),
    ),
    "coefficients without names": (
        DataError,
        "coefficients must map names to distributions or numbers, got list",
        lambda: problem(coefficients=[1.0]),
    ),
    "readings that are none": (
        DataError,
        "data must be Readings(at, values, sd), got tuple",
        lambda: problem(data=(0.0, 1.0)),
    ),
    "Dirichlet of text": (
        ModelError,
        "Dirichlet takes a number or a function of the coordinates, got 'warm'",
        lambda: sp.Dirichlet("warm"),
    ),
    "Neumann of a pair": (
        ModelError,
        "Neumann takes a number or a function of the coordinates, got (0.0, 1.0)",
        lambda: sp.Neumann((0.0, 1.0)),
    ),
    "an sd of text": (
        DataError,
        "sd of the readings must be a positive number, or None to learn it; got 'small'",
        lambda: sp.Readings(np.zeros(2), np.zeros(2), sd="small"),
    ),
}


def refused(error, message, act):
    with pytest.raises(error) as caught:
        act()
    assert str(caught.value) == message


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    refused(*MISTAKES[name])


@pytest.mark.skipif(CHECKED, reason="the signatures refuse these first")
@pytest.mark.parametrize("name", OF_TYPE)
def test_arguments_of_another_type(name):
    refused(*OF_TYPE[name])
