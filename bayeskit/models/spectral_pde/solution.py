r"""`Solution`: the posterior of a solution, at any point of the domain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._keys import as_key
from bayeskit._settings import is_whole
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import DataError
from bayeskit.models.spectral_pde.equations import Basis, derivative_rows
from bayeskit.models.spectral_pde.features import Layout
from bayeskit.models.spectral_pde.given import check_points
from bayeskit.models.spectral_pde.operator import derivative_of
from bayeskit.models.spectral_pde.spectrum import Spectrum

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Solution"]

AT_ONCE = 2**24
"""Numbers in the rows of features that are made at a time."""


@keepable("spectral_pde.Solution", in_double=True)
@dataclasses.dataclass(frozen=True)
class Solution:
    r"""The posterior $u = \sum_r Z_r \phi_r$ with $Z \sim N(\hat z, H^{-1})$, in float64.

    Points are of shape `(points, coordinates)`, or `(points,)` where there is one coordinate, and must lie in the
    domain. A derivative is named as in an operator: `"x"`, `"xx"`, `"xt"`, and so on, to order 4; `"value"` is the
    solution.

    Attributes:
        coordinates: their names.
        domain: an interval a coordinate.
        spectrum: what was learned, one a coordinate.
        combined: the matrices of the features.
        layouts: of the features.
        coefficients: $\hat z$.
        root: $R$ with $R^\top R = H$, upper triangular.
        scales: the units of the equation and of its conditions, of which the tolerance is a share.
        noise: the standard deviation of readings; `None` without readings.
        tree: the record of the fit, which :func:`bayeskit.check` judges: the group `training` with minus the log
            evidence, the group `equation` with the changes of Gauss-Newton steps, and residuals at fresh points
            with their standard deviations under the posterior.
    """

    coordinates: tuple[str, ...]
    domain: tuple[tuple[float, float], ...]
    spectrum: tuple[Spectrum, ...]
    combined: tuple[np.ndarray, ...]
    layouts: tuple[Layout, ...]
    coefficients: np.ndarray
    root: np.ndarray
    scales: tuple[float, ...]
    noise: float | None
    tree: xr.DataTree

    def __repr__(self) -> str:
        parts = [
            f"{name} in ({low:g}, {high:g}), {len(one.share)} components"
            for name, (low, high), one in zip(self.coordinates, self.domain, self.spectrum, strict=True)
        ]
        return f"Solution({'; '.join(parts)}; {len(self.root)} unknowns)"

    def mean(self, x_new: ArrayLike, derivative: str = "value") -> Float[np.ndarray, " points"]:
        """The posterior mean of the solution, or of a derivative.

        Raises:
            DataError: a wrong shape, points that are not finite or outside the domain, or no such derivative.
        """
        with jax.enable_x64(True):
            parts = [rows @ jnp.asarray(self.coefficients).ravel() for rows in self._rows(x_new, derivative)]
            return np.concatenate([np.asarray(part) for part in parts])

    def derivative(self, x_new: ArrayLike, derivative: str) -> Float[np.ndarray, " points"]:
        """The posterior mean of a derivative; see also the argument of that name of :meth:`sd` and :meth:`draw`.

        Raises:
            DataError: as :meth:`mean`.
        """
        return self.mean(x_new, derivative)

    def sd(self, x_new: ArrayLike, derivative: str = "value") -> Float[np.ndarray, " points"]:
        """The posterior standard deviation of the solution, or of a derivative.

        Raises:
            DataError: as :meth:`mean`.
        """
        with jax.enable_x64(True):
            root = jnp.asarray(self.root)
            parts = [_whitened(root, rows) for rows in self._rows(x_new, derivative)]
            return np.concatenate([np.asarray(jnp.sqrt(jnp.sum(part**2, axis=0))) for part in parts])

    def draw(
        self, x_new: ArrayLike, *, key: Key, num: int = 1, derivative: str = "value"
    ) -> Float[np.ndarray, "num points"]:
        """Draws of the solution, or of a derivative, each of one function at all points.

        Raises:
            DataError: as :meth:`mean`; or `num` is no positive integer.
        """
        if not (is_whole(num) and num >= 1):
            raise DataError(f"num must be a positive integer, got {num!r}")
        with jax.enable_x64(True):
            noise = jax.random.normal(as_key(key), (len(self.root), num), jnp.float64)
            white = jax.scipy.linalg.solve_triangular(jnp.asarray(self.root), noise)
            drawn = jnp.asarray(self.coefficients).ravel()[:, None] + white
            return np.concatenate([np.asarray(rows @ drawn).T for rows in self._rows(x_new, derivative)], axis=1)

    def on_grid(self, num: int = 300) -> tuple[np.ndarray, ...]:
        """Equispaced points for plots, the ends included: one array a coordinate."""
        return tuple(np.linspace(low, high, num) for low, high in self.domain)

    @property
    def basis(self) -> Basis:
        """The features."""
        spectra, combined = jax.tree.map(jnp.asarray, (self.spectrum, self.combined))
        return Basis(spectra, combined, self.layouts)

    def _rows(self, x_new: ArrayLike, derivative: str) -> Iterator[Array]:
        orders = derivative_of(derivative, self.coordinates)
        points = np.asarray(x_new, np.float64)
        points = points[:, None] if points.ndim == 1 and len(self.domain) == 1 else points
        check_points("x_new", points, self.domain, self.coordinates)
        basis = self.basis
        size = max(1, AT_ONCE // math.prod(basis.shape))
        for begin in range(0, len(points), size):
            yield derivative_rows(basis, jnp.asarray(points[begin : begin + size]), orders)


def _whitened(root: Array, rows: Array) -> Array:
    return jax.scipy.linalg.solve_triangular(root, rows.T, trans=1)
