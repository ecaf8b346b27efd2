"""`LightBridge`: the settings of a fit, and `fit` and `match`, which return a `Bridge` with the record of the fit."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keepable import keepable
from bayeskit._progress import ProgressBar
from bayeskit._settings import Settings, check_choice, is_number, is_whole, require
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import DataError, MethodError
from bayeskit.models.schrodinger_bridge.bridge import Bridge
from bayeskit.models.schrodinger_bridge.checks import as_key, check_learnable, check_precision
from bayeskit.models.schrodinger_bridge.fit_data import FitData
from bayeskit.models.schrodinger_bridge.fixed_point import Found, begin_from, iterate, solve
from bayeskit.models.schrodinger_bridge.gradient import descend, low_rank
from bayeskit.models.schrodinger_bridge.samples import Sampler, pooled_scale, sources
from bayeskit.numerics.gaussian_mixture_covariance import Diagonal, Full, LowRank
from bayeskit.train import no_training
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["BridgeFit", "LightBridge", "choose_num_components"]


@keepable("schrodinger_bridge.BridgeFit")
@dataclasses.dataclass(frozen=True)
class BridgeFit:
    """A fitted bridge and how it was found.

    Attributes:
        bridge: the bridge, in the units of the data.
        scale: the constant that both samples were divided by during the fit (one without ``standardize``).
        tree: the record of the fit, which :func:`bayeskit.check` judges: the group ``training`` with the loss after
            each step, the settings and more in the attributes.
    """

    bridge: Bridge
    scale: float
    tree: xr.DataTree

    @property
    def losses(self) -> np.ndarray:
        """The training loss after each step."""
        return self.tree["training/loss"].to_numpy()

    @property
    def held_out(self) -> np.ndarray:
        """The loss on held-out points at each look at it; empty if none were held out."""
        return self.tree["training/held_out"].to_numpy() if "held_out" in self.tree["training"] else np.zeros(0)

    @property
    def seconds(self) -> float:
        """How long the fit took on the clock, in seconds."""
        return float(self.tree.attrs["wall_time"])

    @property
    def stopped(self) -> str:
        """Why the fit ended."""
        return str(self.tree.attrs["stopped"])


@keepable("schrodinger_bridge.LightBridge")
@dataclasses.dataclass(frozen=True)
class LightBridge(Settings):
    r"""Learns a Schrödinger bridge between two samples.

    The default fit is a fixed point: both samples are split softly among the components, each component becomes the
    Gaussian bridge between its two parts, and a line search keeps the loss $E \log c(x_0) - E \log v(x_1)$ falling. It
    takes some tens of passes over the data, has no learning rate, and with one component it is exact after one.
    Low-rank maps have no such step and are learned by stochastic gradients from a start that has.

    Args:
        num_components: $K$.
        epsilon: $\varepsilon > 0$, the variance of the reference process at time one, in squared units of the data
            (after division by ``scale`` when ``standardize`` is set).
        covariance: the form of the maps $S_k$: ``"full"``, ``"diagonal"`` or ``"low_rank"``.
        rank: of the low-rank part.
        tau: the mass parameter of unbalanced transport; ``None`` for balanced. Large values approach balance.
        standardize: divide both samples by one constant, the mean over coordinates of the pooled standard deviation,
            and express the result in the original units again; the constant is reported in :class:`BridgeFit`.
        num_samples: points drawn from each sampler, where samplers are given in place of arrays.
        num_steps: at most this many fixed-point steps.
        num_restarts: k-means++ starts; after a few steps the one with the lowest loss goes on.
        annealing: factors of $\varepsilon$ to solve first, e.g. ``(10, 3)``; each solution starts the next.
        tolerance: the fixed point ends when a step lowers the loss by less than this.
        prior_count: shrinks the covariances that a component carries to those of the sample, by a prior worth so many
            points. The default keeps a component of few points positive definite and changes no other; more of it helps
            full covariances where components have fewer points than dimensions.
        validation_fraction: of each sample, held out; the fit stops when the loss there has not fallen for ``patience``
            steps, and returns the best.
        patience: see there.
        num_gradient_steps: steps of Adam after the fixed point; ``None`` means 2,000 for low-rank maps, else none.
        batch_size: points of each sample in a gradient step.
        learning_rate: of Adam; falls to zero along a cosine.

    Raises:
        MethodError: an impossible setting.

    Sources: Korotin, Gushchin and Burnaev (2024), "Light Schrödinger Bridge"; Gushchin, Kholkin, Burnaev and Korotin
    (2024), "Light and Optimal Schrödinger Bridge Matching"; Gazdieva, Asadulaev, Burnaev and Korotin (2024), "Light
    Unbalanced Optimal Transport".

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import schrodinger_bridge
        >>> generator = np.random.default_rng(0)
        >>> x0 = generator.normal(size=(1000, 2))
        >>> x1 = generator.normal(size=(1000, 2)) + np.array([4.0, 0.0])
        >>> fit = schrodinger_bridge.LightBridge(1, epsilon=0.5).fit(x0, x1, key=0)
        >>> moved = fit.bridge.sample(x0, key=1)
        >>> bool(np.abs(moved.mean(0) - x1.mean(0)).max() < 0.2)
        True
    """

    kind: ClassVar[str] = "light_bridge"
    room: ClassVar[str] = "bridge"

    num_components: int
    epsilon: float
    covariance: str = "full"
    rank: int = 2
    tau: float | None = None
    standardize: bool = False
    num_samples: int = 100_000
    num_steps: int = 50
    num_restarts: int = 1
    annealing: Sequence[float] = ()
    tolerance: float = 1e-5
    prior_count: float = 0.01
    validation_fraction: float = 0.0
    patience: int = 5
    num_gradient_steps: int | None = None
    batch_size: int = 512
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("num_components", "rank", "num_samples", "num_restarts", "patience", "batch_size"):
            value = getattr(self, name)
            require(is_whole(value) and value >= 1, name, value, "a positive integer")
        require(is_whole(self.num_steps) and self.num_steps >= 0, "num_steps", self.num_steps, "an integer, 0 or more")
        for name in ("epsilon", "learning_rate"):
            value = getattr(self, name)
            require(is_number(value) and bool(value > 0), name, value, "a positive number")
        require(
            self.tau is None or (is_number(self.tau) and self.tau > 0), "tau", self.tau, "a positive number, or None"
        )
        check_choice("covariance", self.covariance, ("full", "diagonal", "low_rank"))
        factors = all(is_number(factor) and factor > 1 for factor in self.annealing)
        require(factors, "annealing", self.annealing, "factors above one, the largest first")
        object.__setattr__(self, "annealing", tuple(self.annealing))
        require(
            is_number(self.prior_count) and bool(self.prior_count >= 0), "prior_count", self.prior_count, "0 or more"
        )
        share = self.validation_fraction
        require(is_number(share) and bool(0 <= share < 1), "validation_fraction", share, "at least 0 and below 1")
        steps = self.num_gradient_steps
        require(steps is None or (is_whole(steps) and steps >= 0), "num_gradient_steps", steps, "an integer, or None")

    def fit(
        self,
        x0: ArrayLike | Sampler,
        x1: ArrayLike | Sampler,
        *,
        key: Key,
        init: Bridge | None = None,
        progress: bool = False,
    ) -> BridgeFit:
        """Fit to two samples.

        Args:
            x0: points of the start, shape `(points, dimensions)`; or a sampler, a function of a key and a number that
                returns so many points.
            x1: points of the end, likewise; their number may differ.
            key: an integer seed or a JAX key.
            init: a bridge to start from, in the units of the data; k-means++ on the target otherwise.
            progress: show a progress bar.

        Raises:
            DataError: NaN, different dimensions, fewer points than components, an empty sample, a constant coordinate,
                a singular covariance, or points too far from the origin for the precision of the numbers.
            TrainingError: the loss of most gradient steps is not finite.
        """
        return self._run(x0, x1, key, init, progress, coupled=False)

    def match(
        self, x0: ArrayLike, x1: ArrayLike, *, key: Key, init: Bridge | None = None, progress: bool = False
    ) -> BridgeFit:
        """Fit to coupled points by bridge matching (LightSB-M): row $i$ of ``x0`` belongs to row $i$ of ``x1``.

        The drift is regressed on the velocity of Brownian bridges between the coupled points. Whatever the coupling,
        the minimum is the Schrödinger bridge between its two marginals. There are ``num_gradient_steps`` steps of Adam
        (2,000 for ``None``) with ``batch_size`` pairs each, and no fixed-point steps.

        Args:
            x0: points of the start.
            x1: the points they are coupled with, as many.
            key: an integer seed or a JAX key.
            init: a bridge to start from, in the units of the data; k-means++ on the target otherwise.
            progress: show a progress bar.

        Raises:
            DataError: as :meth:`fit`; or different numbers of points.
            MethodError: an unbalanced bridge.
            TrainingError: the loss of most steps is not finite.
        """
        if self.tau is not None:
            raise MethodError("match needs tau=None: a coupling has no mass to add; use fit for unbalanced transport")
        return self._run(x0, x1, key, init, progress, coupled=True)

    def _run(
        self, x0: ArrayLike | Sampler, x1: ArrayLike | Sampler, key: Key, init: Bridge | None, show: bool, coupled: bool
    ) -> BridgeFit:
        begin = time.perf_counter()
        of_data, of_start, of_steps = jax.random.split(as_key(key), 3)
        samples = sources(x0, x1, of_data, self.num_samples, self.validation_fraction, coupled)
        for item, name in zip(samples, ("x0", "x1"), strict=True):
            check_learnable(item.train, name, self.num_components, self.covariance)
        scale = pooled_scale(*samples) if self.standardize else 1.0
        for item, name in zip(samples, ("x0", "x1"), strict=True):
            check_precision(np.asarray(item.train) / np.asarray(scale, item.train.dtype), name, self.epsilon)
        if self.covariance == "low_rank" and self.rank >= samples[0].train.shape[1]:
            raise DataError(
                f"rank = {self.rank} is not low in {samples[0].train.shape[1]} dimensions; use covariance='full'"
            )
        origins = _origins(samples[0].train, samples[1].train, common=self.tau is not None)
        data = FitData.of(samples[0].seen_from(origins[0], scale), samples[1].seen_from(origins[1], scale), self)
        gradient = self.num_gradient_steps
        if gradient is None:
            gradient = 2000 if coupled or self.covariance == "low_rank" else 0
        with ProgressBar(gradient + (0 if coupled else self.num_steps), show) as bar:
            start = None if init is None else _checked(init, self, data.start.train, origins, scale)
            if coupled or (start is not None and isinstance(start.S, LowRank)):
                first = start or begin_from(self, of_start, data)[0]
                found = Found(first, no_training())
            elif start is not None:
                found = iterate(self, [start], data, bar)
            else:
                found = solve(self, of_start, data, bar)
            if self.covariance == "low_rank" and not isinstance(found.bridge.S, LowRank):
                found = found._replace(bridge=low_rank(found.bridge, self.rank))
            if gradient:
                found = descend(self, found, data, of_steps, gradient, bar, coupled)
        training = dataclasses.replace(found.training, seconds=time.perf_counter() - begin)
        raw = np.asarray(jax.random.key_data(as_key(key))).tolist()
        tree = training.tree("LightBridge", self.settings(), key=json.dumps(raw), coupled=int(coupled))
        return BridgeFit(
            _in_units(found.bridge, jnp.asarray(scale, origins[0].dtype)).translated(*origins), scale, tree
        )


def choose_num_components(
    settings: LightBridge, candidates: Sequence[int], x0: ArrayLike | Sampler, x1: ArrayLike | Sampler, *, key: Key
) -> tuple[LightBridge, dict[int, float]]:
    """The number of components with the lowest held-out loss.

    Args:
        settings: of every fit; ``validation_fraction`` must be positive. The same points are held out each time.
        candidates: numbers of components.
        x0: the first sample.
        x1: the second sample.
        key: an integer seed or a JAX key.

    Returns:
        The settings with the best number, and the held-out loss of each candidate.

    Raises:
        MethodError: nothing is held out, or there are no candidates.
        DataError: as :meth:`LightBridge.fit`.

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import schrodinger_bridge
        >>> from bayeskit.models.schrodinger_bridge import choose_num_components
        >>> generator = np.random.default_rng(0)
        >>> x0 = generator.normal(size=(2000, 1))
        >>> x1 = np.sign(generator.normal(size=(2000, 1))) * 4 + 0.5 * generator.normal(size=(2000, 1))
        >>> settings = schrodinger_bridge.LightBridge(1, epsilon=0.5, validation_fraction=0.2)
        >>> best, losses = choose_num_components(settings, [1, 2], x0, x1, key=0)
        >>> best.num_components
        2
    """
    if settings.validation_fraction == 0:
        raise MethodError("validation_fraction must be positive to choose by held-out loss, e.g. 0.2")
    if not candidates:
        raise MethodError("candidates is empty; give the numbers of components to try")
    losses = {}
    for num in candidates:
        fit = dataclasses.replace(settings, num_components=num).fit(x0, x1, key=key)
        losses[num] = float(np.min(fit.held_out))
    return dataclasses.replace(settings, num_components=min(losses, key=lambda num: losses[num])), losses


@partial(safe_jit, compile=eqx.filter_jit)
def _origins(x0: Array, x1: Array, common: bool) -> tuple[Array, Array]:
    """Where the coordinates of the fit begin: at the means, as exponents grow as squares. Mass needs a common one."""
    if common:
        both = (jnp.mean(x0, axis=0) + jnp.mean(x1, axis=0)) / 2
        return both, both
    return jnp.mean(x0, axis=0), jnp.mean(x1, axis=0)


@safe_jit
def _in_units(bridge: Bridge, scale: Array) -> Bridge:
    """The bridge between points multiplied by a constant."""
    tau = None if bridge.tau is None else bridge.tau * scale**2
    return Bridge(bridge.epsilon * scale**2, bridge.log_alpha, bridge.r * scale, bridge.S, tau)


def _checked(init: Bridge, settings: LightBridge, x0: Array, origins: tuple[Array, Array], scale: float) -> Bridge:
    """A bridge to start from, with the ε and the τ of the fit, in its units."""
    form = {Full: "full", Diagonal: "diagonal", LowRank: "low_rank"}.get(type(init.S))
    shape = settings.num_components, x0.shape[1]
    if init.r.shape != shape or form != settings.covariance:
        raise DataError(
            f"init has {init.r.shape[0]} components in {init.r.shape[1]} dimensions and {form} maps; the fit has "
            f"{shape[0]} in {shape[1]} with covariance={settings.covariance!r}"
        )
    tau = None if settings.tau is None else jnp.asarray(settings.tau, x0.dtype)
    near = _in_units(init.translated(-origins[0], -origins[1]), jnp.asarray(1 / scale, x0.dtype))
    log_alpha, r, maps = jax.tree.map(lambda leaf: leaf.astype(x0.dtype), (near.log_alpha, near.r, near.S))
    return Bridge(jnp.asarray(settings.epsilon, x0.dtype), log_alpha, r, maps, tau)
