r"""`Problem`: a differential equation on a box, what holds at its boundary, what was read, and what is not known."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution

from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError, ModelError
from bayeskit.models.spectral_pde.conditions import (
    Condition,
    Dirichlet,
    Function,
    Neumann,
    Periodic,
    Readings,
    check_function,
)
from bayeskit.models.spectral_pde.given import (
    check_finite,
    check_points,
    coefficients_of,
    counts_of,
    domain_of,
    evaluate,
    median_of,
)
from bayeskit.models.spectral_pde.operator import Operator, trace_operator

__all__ = ["Face", "Problem"]

NAMES: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (("x",), ("t",)),
    2: (("x", "y"), ("x", "t")),
    3: (("x", "y", "z"), ("x", "y", "t")),
}
"""What coordinates are called: where nothing is a time, and where the last one is."""
AGREE = 1e-6
"""Corner values may differ by so much of the largest boundary value."""

Ends = tuple[Condition | None, Condition | None]


@dataclasses.dataclass(frozen=True)
class Face:
    """A condition at an end of a coordinate.

    Attributes:
        axis: of the coordinate.
        end: 0 for the lower, 1 for the upper; 0 for both of a periodic one.
        order: of the derivative along the axis.
        sign: what it is multiplied by.
        value: a number, or a function of `arguments` coordinates.
        without_axis: whether the function does not get the coordinate of the face (initial values).
        wraps: whether it is the difference between both ends.
        what: how it is called in messages.
    """

    axis: int
    end: int
    order: int
    sign: float
    value: Function
    what: str
    without_axis: bool = False
    wraps: bool = False


@dataclasses.dataclass(frozen=True)
class Problem:
    r"""A differential equation $\mathcal L u = f$ on a box, with what is known of its solution.

    Functions of the coordinates get one array a coordinate, in order, all of one shape; unknown coefficients that they
    name are given to them by name. The last coordinate is a time, and called `t`, where there are initial values or the
    operator uses it.

    Args:
        domain: an interval a coordinate (or the one interval): `x`; `x` and `y`, or `x` and `t`; `x`, `y` and `z`, or
            `x`, `y` and `t`.
        operator: $\mathcal L$, a JAX function of `u`, linear or not. `u.value`, `u.x`, `u.xx`, `u.xy`, `u.t` and so on,
            to order 4, are numbers: the solution and its derivatives at one point. Coordinates and coefficients that
            it names are given to it by name: `lambda u, x, diffusion: u.t - diffusion * x * u.xx`.
        source: $f$, a number, a function of the coordinates, or an array of the shape of the grid.
        boundary: what holds where the space ends. A function or a number for the values of $u$ at all ends; a
            :class:`Dirichlet`, :class:`Neumann` or :class:`Periodic` condition for all ends; or a mapping from
            coordinates to a condition for both ends, or a pair for the lower and the upper one, with `None` for an end
            without (the outflow of an advection) and a list for an end with several (a clamped beam). An empty mapping
            says that nothing is known at any end.
        initial: the values of $u$ at the first time, a number or a function of the coordinates of space; a pair with
            those of $u_t$ where the equation is of second order in time.
        data: noisy readings of $u$, for :func:`solve`.
        coefficients: unknown coefficients by name, with a NumPyro distribution as prior; or numbers, which are known.
        num_nodes: nodes a coordinate, one number for all or one each.

    Raises:
        DataError: an interval, array or value that is not possible; a missing condition; a source or a boundary value
            that is not finite; values that disagree at a corner.
        ModelError: an operator or function that cannot be called, has unknown arguments or returns the wrong shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import spectral_pde as sp
        >>> heat = sp.Problem(
        ...     domain=[(0.0, 1.0), (0.0, 0.5)],
        ...     operator=lambda u: u.t - 0.1 * u.xx,
        ...     boundary=0.0,
        ...     initial=lambda x: jnp.sin(jnp.pi * x),
        ...     num_nodes=(30, 20),
        ... )
        >>> heat.coordinates, heat.is_linear
        (('x', 't'), True)
    """

    domain: Any  # becomes a tuple of pairs
    operator: Callable[..., Any]
    source: Function | ArrayLike = 0.0
    boundary: object = None
    initial: object = None
    data: Readings | None = None
    coefficients: Mapping[str, Distribution | ArrayLike] = dataclasses.field(default_factory=dict)
    num_nodes: int | Sequence[int] = 100

    coordinates: tuple[str, ...] = dataclasses.field(init=False)
    linear_operator: Operator = dataclasses.field(init=False, repr=False)
    faces: tuple[Face, ...] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("domain", domain_of(self.domain))
        put("num_nodes", counts_of(self.num_nodes, len(self.domain)))
        put("coefficients", coefficients_of(self.coefficients))
        with jax.enable_x64(True):
            reference = self.reference()
            put("coordinates", self._named(reference))
            for name in self.coefficients:
                if name in self.coordinates:
                    raise DataError(f"{name!r} is the name of a coordinate; call the coefficient something else")
            put("linear_operator", self._traced(self.coordinates, reference))
            boundary = self._boundary_faces()
            put("faces", (*boundary, *self._initial_faces(boundary)))
            self._check_values(reference)
        if self.data is not None:
            if not isinstance(self.data, Readings):
                raise DataError(f"data must be Readings(at, values, sd), got {type(self.data).__name__}")
            check_points("at of the readings", np.asarray(self.data.at), self.domain, self.coordinates)

    @property
    def is_linear(self) -> bool:
        """Whether the operator is an affine function of the derivatives."""
        return self.linear_operator.is_linear

    @property
    def unknown(self) -> dict[str, Distribution]:
        """The coefficients that have a prior."""
        return {name: prior for name, prior in self.coefficients.items() if isinstance(prior, Distribution)}

    def reference(self) -> dict[str, np.ndarray]:
        """Known coefficients, and the medians of unknown ones under their priors."""
        return {name: median_of(value) for name, value in self.coefficients.items()}

    def given(self, coefficients: Mapping[str, ArrayLike] | None) -> dict[str, np.ndarray]:
        """All coefficients, where those that have a prior are given.

        Raises:
            DataError: one is missing, unknown, not finite or of another shape.
        """
        given = dict(coefficients or {})
        for name in given:
            if name not in self.coefficients:
                raise DataError(
                    f"{name!r} is no coefficient of the problem{did_you_mean(name, self.coefficients, 'it has')}"
                )
        missing = [name for name in self.unknown if name not in given]
        if missing:
            raise DataError(
                f"the coefficients {', '.join(missing)} are unknown: give coefficients={{{missing[0]!r}: ...}}, or "
                "infer them, bk.infer(sp.model(problem), {'at': ..., 'readings': ...}, bk.NUTS(), key=0)"
            )
        reference = self.reference()
        result = {name: np.asarray(given.get(name, reference[name]), np.float64) for name in self.coefficients}
        for name, value in result.items():
            if value.shape != reference[name].shape or not np.isfinite(value).all():
                raise DataError(
                    f"coefficient {name!r} must be finite and of shape {reference[name].shape}; it is {value}"
                )
        return result

    def nodes(self) -> tuple[np.ndarray, ...]:
        """The nodes along each coordinate, the ends among them."""
        return tuple(np.linspace(low, high, n) for (low, high), n in zip(self.domain, self._counts(), strict=True))

    def grid(self) -> tuple[np.ndarray, ...]:
        """One array a coordinate, each of the shape of the grid."""
        return tuple(np.meshgrid(*self.nodes(), indexing="ij"))

    @property
    def inner(self) -> tuple[tuple[int | None, int | None], ...]:
        """The nodes at which the equation is demanded, as ends of a slice along each coordinate.

        Along several coordinates not on faces where conditions hold: at an edge between two of these the conditions and
        the equation may contradict one another, as with a source that does not vanish beside values that do.
        """
        if len(self.domain) == 1:
            return ((None, None),)
        held = {(face.axis, face.end) for face in self.faces if not face.wraps}
        return tuple(
            (1 if (axis, 0) in held else None, -1 if (axis, 1) in held else None) for axis in range(len(self.domain))
        )

    def at_inner(self, values: Array) -> Array:
        """Of values at all nodes those where the equation is demanded."""
        return values[tuple(slice(*ends) for ends in self.inner)]

    def inner_points(self) -> np.ndarray:
        """The nodes where the equation is demanded, shape `(nodes, coordinates)`."""
        inner = [points[slice(*ends)] for points, ends in zip(self.nodes(), self.inner, strict=True)]
        return np.stack([g.ravel() for g in np.meshgrid(*inner, indexing="ij")], axis=1)

    def _counts(self) -> tuple[int, ...]:
        assert isinstance(self.num_nodes, tuple)
        return self.num_nodes

    def _traced(self, names: tuple[str, ...], reference: Mapping[str, np.ndarray]) -> Operator:
        return trace_operator(self.operator, names, reference, np.asarray(self.domain))

    def _named(self, reference: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        choices = NAMES[len(self.domain)]
        if self.initial is not None:
            return choices[1]
        try:
            self._traced(choices[0], reference)
        except ModelError:
            try:
                self._traced(choices[1], reference)
            except ModelError:
                return choices[0]  # whose error is then raised
            return choices[1]
        return choices[0]

    def _boundary_faces(self) -> list[Face]:
        has_time = self.coordinates[-1] == "t"
        space = self.coordinates[:-1] if has_time else self.coordinates
        given = self.boundary
        if given is None and space:
            if self.data is None:
                raise DataError(
                    "boundary is missing: give the values of u at the ends, boundary=lambda "
                    f"{', '.join(self.coordinates)}: ..., a condition such as Neumann or Periodic, or a mapping from "
                    "coordinates to conditions; boundary={} says that nothing is known there"
                )
            return []
        if not (given is None or isinstance(given, Mapping) or space):
            raise DataError(
                "boundary is what holds where the space ends, and the only coordinate is a time: give initial, or "
                "boundary={'t': ...} for its two ends"
            )
        if not isinstance(given, Mapping):
            given = {} if given is None else dict.fromkeys(space, given)
        for name in given:
            if name not in self.coordinates:
                raise DataError(f"boundary has {name!r}{did_you_mean(name, self.coordinates, 'the coordinates are')}")
        missing = [name for name in space if given and name not in given]
        if missing:
            raise DataError(
                f"boundary says nothing of {missing[0]}; add {missing[0]!r}: None if nothing is known there"
            )
        faces: list[Face] = []
        for name, ends in given.items():
            faces += self._ends(self.coordinates.index(name), name, ends)
        return faces

    def _ends(self, axis: int, name: str, ends: object) -> list[Face]:
        if isinstance(ends, Periodic):
            orders = range(max(self.linear_operator.order(axis), 1))
            return [Face(axis, 0, k, 1.0, 0.0, f"the period of {name}", wraps=True) for k in orders]
        pair = ends if isinstance(ends, tuple | list) else (ends, ends)
        if len(pair) != 2:
            raise DataError(f"boundary of {name} must be one condition, or a pair for its two ends; got {len(pair)}")
        faces = []
        each = [(end, one) for end, some in enumerate(pair) for one in (some if isinstance(some, list) else [some])]
        for end, one in each:
            what = f"boundary at {name} = {self.domain[axis][end]:g}"
            if isinstance(one, Periodic):
                raise DataError(f"{what}: Periodic() is a condition on both ends; give it alone, not in a pair")
            if isinstance(one, Neumann):
                faces.append(Face(axis, end, 1, 1.0 if end else -1.0, one.value, what))
            elif one is not None:
                value = one.value if isinstance(one, Dirichlet) else one
                check_function(what, value)
                faces.append(Face(axis, end, 0, 1.0, value, what))
        return faces

    def _initial_faces(self, boundary: list[Face]) -> list[Face]:
        axis = len(self.coordinates) - 1
        if self.initial is None:
            if self.coordinates[-1] == "t" and not any(f.axis == axis for f in boundary) and not self.data:
                space = ", ".join(self.coordinates[:-1])
                such_as = f"lambda {space}: ..." if space else "..."
                raise DataError(
                    f"initial is missing: the last coordinate is a time; give initial={such_as} "
                    f"with the values of u at t = {self.domain[-1][0]:g}"
                )
            return []
        values = self.initial if isinstance(self.initial, tuple | list) else (self.initial,)
        order = self.linear_operator.order(axis)
        if len(values) != max(order, 1):
            raise DataError(
                f"the equation is of order {order} in time and needs {max(order, 1)} initial values (u, u_t, ...); "
                f"initial has {len(values)}"
            )
        for k, value in enumerate(values):
            check_function(f"initial value {k + 1}", value)
        start = f"initial value at t = {self.domain[-1][0]:g}"
        return [Face(axis, 0, k, 1.0, value, start, without_axis=True) for k, value in enumerate(values)]

    def face_points(self, face: Face) -> tuple[np.ndarray, ...]:
        """Along each coordinate, the points of a face; both ends along that of a periodic one."""
        points = list(self.nodes())
        ends = self.domain[face.axis]
        points[face.axis] = np.array(ends) if face.wraps else np.array([ends[face.end]])
        return tuple(points)

    def face_values(self, face: Face, coefficients: Mapping[str, Array | np.ndarray]) -> Array:
        """What holds on a face, of the shape of its grid."""
        points = self.face_points(face)
        if face.wraps:
            return jnp.zeros([1 if axis == face.axis else len(p) for axis, p in enumerate(points)])
        grid = list(np.meshgrid(*points, indexing="ij"))
        shape = grid[0].shape
        if face.without_axis:
            del grid[face.axis]
        return evaluate(face.what, face.value, grid, shape, coefficients)

    def source_values(self, coefficients: Mapping[str, Array | np.ndarray]) -> Array:
        """The source at the nodes, of the shape of the grid."""
        if callable(self.source):
            return evaluate("source", self.source, self.grid(), self._counts(), coefficients)
        values = np.asarray(self.source, np.float64)
        if values.shape not in ((), self._counts()):
            raise DataError(f"source has the shape {values.shape}; the grid has {self._counts()}")
        return jnp.broadcast_to(jnp.asarray(values), self._counts())

    def source_at(self, points: np.ndarray, coefficients: Mapping[str, Array | np.ndarray]) -> Array:
        """The source at scattered points; it must be a function or a number."""
        columns = [points[:, axis] for axis in range(points.shape[1])]
        value: Any = self.source
        return evaluate("source", value, columns, (len(points),), coefficients)

    def _check_values(self, reference: Mapping[str, np.ndarray]) -> None:
        source = np.asarray(self.source_values(reference))
        check_finite("source", source, self.grid())
        values = []
        for face in self.faces:
            found = np.asarray(self.face_values(face, reference))
            check_finite(face.what, found, np.meshgrid(*self.face_points(face)[:], indexing="ij"))
            values.append((face, found))
        plain = [(face, found) for face, found in values if face.order == 0 and not face.wraps]
        size = max((float(np.abs(found).max()) for _, found in plain), default=0.0)
        for (face, a), (other, b) in itertools.combinations(plain, 2):
            if face.axis != other.axis:
                self._check_corner(face, a, other, b, size)

    def _check_corner(self, face: Face, a: np.ndarray, other: Face, b: np.ndarray, size: float) -> None:
        of_a = np.take(a, [-other.end], axis=other.axis)
        of_b = np.take(b, [-face.end], axis=face.axis)
        gap = np.abs(of_a - of_b)
        if gap.max() > AGREE * size:
            worst = np.unravel_index(int(gap.argmax()), gap.shape)
            points = list(self.nodes())
            for one in (face, other):
                points[one.axis] = np.array([self.domain[one.axis][one.end]])
            where = ", ".join(f"{c} = {points[i][worst[i]]:.6g}" for i, c in enumerate(self.coordinates))
            raise DataError(
                f"values disagree at the corner {where}: {face.what} says {of_a[worst]:.6g}, {other.what} says "
                f"{of_b[worst]:.6g}"
            )
