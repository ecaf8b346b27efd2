"""`Network`: layers in sequence, and their kernels, for matrices of inputs and as kernels of tinygp."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tinygp.kernels import Kernel

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError
from bayeskit.models.nngp.networks.blocks import block_rows, by_row_blocks, by_tiles, in_tiles
from bayeskit.models.nngp.networks.inputs import as_inputs, check_alike, first_distances, first_marginals
from bayeskit.models.nngp.networks.layers import Layer
from bayeskit.models.nngp.networks.second_moments import Pairs, covariance
from bayeskit.models.nngp.networks.signal import Signal
from bayeskit.models.nngp.tracing import is_traced
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Kernels", "Network", "NtkKernel"]


class Kernels(NamedTuple):
    r"""Both kernels of a network.

    Attributes:
        nngp: the covariance of the outputs of random networks, $K$.
        ntk: the tangent kernel, $\Theta$.
    """

    nngp: Array
    ntk: Array


@keepable("nngp.Network")
class Network(Kernel):
    r"""An infinitely wide network: its kernels, and itself a kernel of tinygp (the NNGP).

    Inputs are matrices `(n, features)` or, for convolutions, images `(n, height, width, channels)`. Make one with
    :func:`serial`. Hyperparameters are leaves, so that `jax.grad` and `equinox.filter_grad` differentiate through it,
    and they may be traced values, as those drawn by `numpyro.sample` are. Without a last `Dense` the kernels are those
    of the features of the last layer.

    Large matrices are computed by blocks, and so are their derivatives: beside the result only one block is in memory,
    or, for the symmetric ones up to n = 5,000, two more matrices of its size. Equal inputs have exactly the
    correlation one, and gradients are finite there; the tangent kernel of a piecewise linear activation has a kink
    there, where its derivative by the inputs is taken to be the mean of both sides.

    Attributes:
        layers: in order.

    Sources: Lee et al. (2018), "Deep Neural Networks as Gaussian Processes"; Jacot, Gabriel and Hongler (2018), "Neural
    Tangent Kernel".

    Example:
        >>> import numpy as np
        >>> import tinygp
        >>> from bayeskit.models import nngp
        >>> network = nngp.serial(nngp.Dense(1.4, 0.3), nngp.relu, nngp.Dense(1.4, 0.3))
        >>> x = np.random.default_rng(0).normal(size=(6, 2))
        >>> network.nngp(x).shape, network.ntk(x, x[:4]).shape
        ((6, 6), (6, 4))
        >>> gp = tinygp.GaussianProcess(network + tinygp.kernels.Matern32(0.5), x, diag=0.1)
        >>> gp.log_probability(x[:, 0]).shape
        ()
    """

    layers: tuple[Layer, ...]

    def nngp(self, x1: ArrayLike, x2: ArrayLike | None = None, *, block_size: int | None = None) -> Array:
        r"""The covariances $K(x_1, x_2)$ of the outputs of random networks, shape `(n1, n2)`.

        Args:
            x1: inputs.
            x2: other inputs; the same if left out, which is faster.
            block_size: rows computed at a time; chosen by size if left out.

        Raises:
            DataError: inputs that are empty, not finite, not real, or of other shapes than each other.
            ModelError: inputs that the layers cannot take, or layers that cannot follow each other.
            MethodError: an impossible ``block_size``.
        """
        return self._kernels(x1, x2, block_size, False)[0]

    def ntk(self, x1: ArrayLike, x2: ArrayLike | None = None, *, block_size: int | None = None) -> Array:
        r"""The tangent kernel $\Theta(x_1, x_2)$: arguments and errors as those of `nngp`."""
        return self._kernels(x1, x2, block_size, True)[1]

    def nngp_and_ntk(self, x1: ArrayLike, x2: ArrayLike | None = None, *, block_size: int | None = None) -> Kernels:
        """Both kernels in one pass: arguments and errors as those of `nngp`."""
        return Kernels(*self._kernels(x1, x2, block_size, True))

    def variance(self, x: ArrayLike) -> Array:
        """The diagonal of ``nngp(x)``, shape `(n,)`; errors as those of `nngp`."""
        inputs = self._inputs(x, "x")
        found = _compiled_variances(self, inputs)
        _check_known(self, found)
        return found

    @property
    def ntk_kernel(self) -> NtkKernel:
        """The tangent kernel as a kernel of tinygp."""
        return NtkKernel(self)

    def evaluate(self, X1: Array, X2: Array) -> Array:
        """The covariance of one pair of inputs, for tinygp."""
        one, two = (self._inputs(jnp.asarray(x)[None], name) for x, name in ((X1, "X1"), (X2, "X2")))
        check_alike(one, two)
        return _compiled_pair(self, one, two, False)[0][0, 0]

    def evaluate_diag(self, X: Array) -> Array:
        """The variance of one input, for tinygp."""
        inputs = self._inputs(jnp.asarray(X)[None], "X")
        return _compiled_variances(self, inputs)[0]

    def __call__(self, X1: Array, X2: Array | None = None) -> Array:
        """The covariance matrix, or with one argument the variances, for tinygp."""
        return self.variance(X1) if X2 is None else self.nngp(X1, X2)

    def _inputs(self, x: ArrayLike, name: str) -> Array:
        """Checked, with the layers after them."""
        inputs = as_inputs(x, name)
        signal = Signal(image=inputs.ndim == 4, gaussian=False, wide=False, fresh=False)
        for place, layer in enumerate(self.layers):
            try:
                signal = layer.signal(signal)
            except ModelError as error:
                raise ModelError(f"layer {place} of the network, for inputs of shape {inputs.shape}: {error}") from None
        return inputs

    def _kernels(
        self, x1: ArrayLike, x2: ArrayLike | None, block_size: int | None, with_ntk: bool
    ) -> tuple[Array, ...]:
        first = self._inputs(x1, "x1")
        per_pair, n = _values_per_pair(self, first.shape), first.shape[0]
        second = first if x2 is None or x2 is x1 else self._inputs(x2, "x2")
        if second is first and block_size is None and in_tiles(n, per_pair):
            found = _compiled_tiles(self, first, with_ntk)
        else:
            check_alike(first, second)
            rows = block_rows(n, second.shape[0], per_pair, block_size)
            found = _compiled_blocks(self, first, second, (with_ntk, rows))
        _check_known(self, found)
        return found


@keepable("nngp.NtkKernel")
class NtkKernel(Kernel):
    """The tangent kernel of a network, as a kernel of tinygp."""

    network: Network

    def evaluate(self, X1: Array, X2: Array) -> Array:
        """The tangent kernel of one pair of inputs."""
        one, two = (self.network._inputs(jnp.asarray(x)[None], name) for x, name in ((X1, "X1"), (X2, "X2")))
        check_alike(one, two)
        return _compiled_pair(self.network, one, two, True)[1][0, 0]

    def __call__(self, X1: Array, X2: Array | None = None) -> Array:
        """The matrix, or with one argument its diagonal."""
        if X2 is None:
            return jax.vmap(self.evaluate_diag)(self.network._inputs(X1, "X1"))
        return self.network.ntk(X1, X2)


def _pair_kernels(network: Network, x1: Array, x2: Array, with_ntk: bool) -> tuple[Array, ...]:
    all_pairs = x1.ndim == 4 and _needs_all_pairs(network)
    a, b = first_marginals(x1, all_pairs), first_marginals(x2, all_pairs)
    delta = first_distances(x1, x2, all_pairs)
    pairs = Pairs(delta, jnp.zeros_like(delta) if with_ntk else None)
    for layer in network.layers:
        a, b, pairs = layer.pairs(a, b, pairs)
    _check_vectors(a.variance)
    nngp = covariance(a, b, pairs.delta)
    return (nngp,) if pairs.ntk is None else (nngp, pairs.ntk)


def _variances(network: Network, x: Array) -> Array:
    own = first_marginals(x, x.ndim == 4 and _needs_all_pairs(network))
    for layer in network.layers:
        own = layer.marginals(own)
    _check_vectors(own.variance)
    return own.variance


def _check_vectors(variance: Array) -> None:
    if variance.ndim != 1:
        raise ModelError("the network ends with images: end it with Flatten() or GlobalPool(), and a Dense")


def _check_known(network: Network, found: object) -> None:
    """Refuse variances beyond what the quadratures were made for (they are not seen inside a compiled function).

    Raises:
        ModelError: one is not.
    """
    refusals = [refusal for part in _parts(network) if (refusal := part.refusal())]
    if refusals and not is_traced(found) and any(bool(jnp.isnan(part).any()) for part in jax.tree.leaves(found)):
        raise ModelError(refusals[0])


def _blocks(network: Network, x1: Array, x2: Array, how: tuple[bool, int]) -> tuple[Array, ...]:
    with_ntk, rows = how
    return by_row_blocks(lambda one, two: _pair_kernels(network, one, two, with_ntk), x1, x2, rows)


def _tiles(network: Network, x: Array, with_ntk: bool) -> tuple[Array, ...]:
    per_pair = _values_per_pair(network, x.shape)

    def pairs(one: Array, two: Array) -> tuple[Array, ...]:
        return _pair_kernels(network, one, two, with_ntk)

    def tile(one: Array, two: Array) -> tuple[Array, ...]:
        rows = block_rows(one.shape[0], two.shape[0], per_pair, None)
        return pairs(one, two) if rows == one.shape[0] else by_row_blocks(pairs, one, two, rows)

    return by_tiles(tile, x)


_compiled_blocks = safe_jit(_blocks, static_argnums=3)
_compiled_tiles = safe_jit(_tiles, static_argnums=2)
_compiled_variances = safe_jit(_variances)
_compiled_pair = safe_jit(_pair_kernels, static_argnums=3)


def _parts(network: Network) -> Iterator[Layer]:
    for layer in network.layers:
        yield from layer.parts()


def _needs_all_pairs(network: Network) -> bool:
    return any(part.needs_all_pairs for part in _parts(network))


def _values_per_pair(network: Network, shape: tuple[int, ...]) -> int:
    """Numbers that one layer keeps for a pair of inputs of this shape."""
    pixels = int(np.prod(shape[1:-1]))
    places = pixels**2 if _needs_all_pairs(network) else pixels
    return places * max(part.values_per_pair for part in _parts(network))
