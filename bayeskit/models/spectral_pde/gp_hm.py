r"""`GPHM`: gradient steps up the joint density of a solution and its kernels, a baseline for `solve`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._settings import Settings, check_choice, is_number, is_whole, require
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import TrainingError
from bayeskit.models.spectral_pde.given import check_points
from bayeskit.models.spectral_pde.gp_hm_joint import Known, Unknowns, kernels_of, log_joint, root, solve_along
from bayeskit.models.spectral_pde.kernels import SpectralKernel, SpectralMixture, StudentT
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.train import Trained, minimise
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["GPHM", "GPHMFit"]

KERNELS: dict[str, type[SpectralKernel]] = {"gaussian": SpectralMixture, "student_t": StudentT}
AT_ONCE = 2**22
"""Numbers in the covariances between new points and nodes that are made at a time."""


@keepable("spectral_pde.GPHMFit", in_double=True)
@dataclasses.dataclass(frozen=True)
class GPHMFit:
    """A solution on a grid, found by :class:`GPHM`, in float64.

    Attributes:
        coordinates: their names.
        domain: an interval a coordinate.
        values: the solution at the nodes, of the shape of the grid; the nodes are equispaced, ends included.
        kernels: what was learned, one a coordinate.
        jitter: that of the settings.
        boundary_sd: the error of the boundary values that was learned.
        equation_sd: that of the equation.
        tree: the record of the fit, which :func:`bayeskit.check` judges: the group `training` with minus the log joint
            density at every step, the settings and more in the attributes.
    """

    coordinates: tuple[str, ...]
    domain: tuple[tuple[float, float], ...]
    values: np.ndarray
    kernels: tuple[SpectralKernel, ...]
    jitter: float
    boundary_sd: float
    equation_sd: float
    tree: xr.DataTree

    @property
    def losses(self) -> np.ndarray:
        """Minus the log joint density before each step."""
        return self.tree["training/loss"].to_numpy()

    @property
    def seconds(self) -> float:
        """How long the fit took on the clock, in seconds."""
        return float(self.tree.attrs["wall_time"])

    def mean(self, x_new: ArrayLike) -> Float[np.ndarray, " points"]:
        r"""The conditional mean of the process given its values at the nodes.

        It is $\bigl(k_1(x, X_1) K_1^{-1} \otimes k_2(y, X_2) K_2^{-1}\bigr) \operatorname{vec} U$, with the jitter in
        $K_d$, so that at the nodes it is $U$ but for the jitter.

        Args:
            x_new: points, shape `(points, coordinates)`.

        Raises:
            DataError: a wrong shape, or points that are not finite or outside the domain.
        """
        points = np.asarray(x_new, np.float64)
        check_points("x_new", points, self.domain, self.coordinates)
        size = max(1, AT_ONCE // sum(self.values.shape))
        spans = zip(self.domain, self.values.shape, strict=True)
        with jax.enable_x64(True):
            nodes = tuple(jnp.asarray(np.linspace(*ends, n)) for ends, n in spans)
            given = self.kernels, nodes, jnp.asarray(self.values), jnp.asarray(self.jitter)
            parts = [_mean(*given, jnp.asarray(points[i : i + size])) for i in range(0, len(points), size)]
            return np.concatenate([np.asarray(part) for part in parts])


@keepable("spectral_pde.GPHM")
@dataclasses.dataclass(frozen=True)
class GPHM(Settings):
    r"""GP-HM: the values of a solution on a grid and the spectra of its kernels, by Adam on their joint density.

    It climbs

    $$\log N(\operatorname{vec} U \mid 0, K_1 \otimes K_2)
    + \lambda \log N(g \mid U_{\partial}, \tau_1^{-1} I) + \log N(f \mid \mathcal L u, \tau_2^{-1} I)$$

    over the values $U$ at the nodes, the weights, frequencies and length scales of the kernels along the coordinates,
    and the precisions $\tau_1$ of the boundary values $g$ and $\tau_2$ of the equation $\mathcal L u = f$ at all nodes.
    The derivatives in $\mathcal L u$ are conditional means given $U$. Weights, length scales and precisions are learned
    by their logarithms, under flat priors. It starts from a solution of zero, weights $1 / Q$, length scales of one,
    frequencies equispaced from zero, and precisions of one; it uses no chance, and keeps the last step.

    It is here to be compared with: :func:`solve` conditions on the equation at once and says how sure it is. The
    density has no highest point, as it grows without end where values and weights go to zero together; where the
    source is not far above one, the error of the equation at the start, the steps may lead there. No matrix is larger
    than a kernel along one coordinate; a step takes $O(\sum_d n_d^3 + n \sum_d n_d)$ operations on a grid of
    $n = \prod_d n_d$ nodes.

    Args:
        num_components: $Q$, of each kernel.
        max_frequency: the highest frequency at the start, in cycles a unit of the coordinate.
        kernel: `"gaussian"` for :class:`SpectralMixture`, `"student_t"` for :class:`StudentT`.
        boundary_weight: $\lambda$.
        jitter: added to the diagonals of the $K_d$, as a share of the variance.
        num_steps: steps of Adam.
        learning_rate: of Adam, the same at all steps.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from bayeskit.models import spectral_pde as sp
        >>> problem = sp.Problem(
        ...     domain=[(0.0, 3.0)],
        ...     operator=lambda u: u.xx,
        ...     source=lambda x: -256.0 * jnp.sin(16.0 * x),
        ...     boundary=lambda x: jnp.sin(16.0 * x),
        ...     num_nodes=31,
        ... )
        >>> fit = sp.GPHM(num_components=8, max_frequency=4.0, num_steps=500).fit(problem)
        >>> x = np.linspace(0.0, 3.0, 200)[:, None]
        >>> bool(np.abs(fit.mean(x) - np.sin(16.0 * x[:, 0])).max() < 0.2)
        True

    Source: Fang, Cooley, Long, Li, Kirby and Zhe (2024), "Solving High Frequency and Multi-Scale PDEs with Gaussian
    Processes".
    """

    kind: ClassVar[str] = "gp_hm"
    room: ClassVar[str] = "solver"

    num_components: int = 30
    max_frequency: float = 20.0
    kernel: str = "gaussian"
    boundary_weight: float = 200.0
    jitter: float = 1e-6
    num_steps: int = 10_000
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("num_components", "num_steps"):
            value = getattr(self, name)
            require(is_whole(value) and value >= 1, name, value, "a positive integer")
        for name in ("max_frequency", "boundary_weight", "jitter", "learning_rate"):
            value = getattr(self, name)
            require(is_number(value) and bool(value > 0), name, value, "a positive number")
        check_choice("kernel", self.kernel, tuple(KERNELS))

    def fit(
        self, problem: Problem, *, coefficients: Mapping[str, ArrayLike] | None = None, progress: bool = False
    ) -> GPHMFit:
        """Fit to a problem of one or two coordinates, with values of the solution at its boundary and first time.

        The equation may be linear or not.

        Args:
            problem: the equation.
            coefficients: values of the unknown coefficients of the problem.
            progress: show a progress bar.

        Raises:
            MethodError: what is no problem, or has more coordinates, readings, conditions on derivatives, periodic
                ones, or a coefficient that is unknown and not given.
            DataError: a coefficient that the problem does not have, or an impossible value of one.
            TrainingError: the log joint density or its gradient is not finite at most steps of a hundred.
        """
        with jax.enable_x64(True):
            known = Known.of(problem, coefficients)
            trained = self._ascend(known, progress)
            found = trained.parameters
            return GPHMFit(
                coordinates=problem.coordinates,
                domain=tuple(problem.domain),
                values=np.asarray(found.values),
                kernels=tuple(kernels_of(found, KERNELS[self.kernel])),
                jitter=self.jitter,
                boundary_sd=float(jnp.exp(-0.5 * found.log_boundary_precision)),
                equation_sd=float(jnp.exp(-0.5 * found.log_equation_precision)),
                tree=trained.training.tree("GPHM", self.settings()),
            )

    def _ascend(self, known: Known, progress: bool) -> Trained[Unknowns]:
        def loss(unknowns: Unknowns, key: Array) -> Array:
            del key
            kernel = KERNELS[self.kernel]
            return -log_joint(unknowns, known, kernel, boundary_weight=self.boundary_weight, jitter=self.jitter)

        start = Unknowns.start(known.source.shape, self.num_components, self.max_frequency)
        try:
            return minimise(
                loss,
                start,
                key=jax.random.key(0),
                optimizer=optax.adam(self.learning_rate),
                num_steps=self.num_steps,
                progress=progress,
            )
        except TrainingError as error:
            raise TrainingError(f"{error}; kernel matrices that cannot be factorised need a larger jitter") from error


def _mean_at(
    kernels: tuple[SpectralKernel, ...],
    nodes: tuple[Array, ...],
    values: Array,
    jitter: Array,
    points: Float[Array, "points d"],
) -> Float[Array, " points"]:
    roots = [root(kernel, x, jitter) for kernel, x in zip(kernels, nodes, strict=True)]
    array = solve_along(roots, values, range(len(nodes)))
    rows = [
        jax.vmap(jax.vmap(kernel.evaluate, (None, 0)), (0, None))(points[:, axis], x)
        for axis, (kernel, x) in enumerate(zip(kernels, nodes, strict=True))
    ]
    result = jnp.tensordot(rows[0], array, axes=1)
    for row in rows[1:]:  # the first axis is that of the points, and each further one is summed with its own row
        result = jnp.einsum("pi,pi...->p...", row, result)
    return result


_mean = safe_jit(_mean_at, compile=eqx.filter_jit)
