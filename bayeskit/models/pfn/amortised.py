"""`Amortised`: the predictions of a network as a result of `bayeskit.infer`."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import raw_key
from bayeskit._settings import is_whole, require
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, ArrayLike, Key, Model
from bayeskit.errors import DataError, MethodError
from bayeskit.inference.method import DirectMethod
from bayeskit.models.pfn.net import Net
from bayeskit.models.pfn.prior import Prior
from bayeskit.storage.provenance import provenance
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Amortised"]


@dataclass(frozen=True, eq=False)
class Amortised(DirectMethod):
    """Predict by a network that was trained on the model.

    ``bk.infer(prior, {"x": x, "y": y}, pfn.Amortised(net), key=0)`` predicts each output from all the other rows (the
    group ``posterior_predictive``, with log densities in ``leave_one_out``). With `at`, it predicts the outputs of
    new rows from all the data (the group ``predictions``). Latent sites are integrated out, and so not in the result.

    Args:
        net: trained on the model by :func:`bayeskit.models.pfn.train`.
        at: inputs to predict at, shape `(queries, features)`.
        num_draws: draws of each output.

    Raises:
        MethodError: `net` is no network, or an impossible setting.

    Example:
        >>> import bayeskit as bk
        >>> from bayeskit.models import pfn
        >>> net = pfn.pretrained("regression")
        >>> data = {"x": [[0.1], [0.5], [0.9]], "y": [0.2, 0.6, 0.7]}
        >>> post = bk.infer(pfn.priors.Curve(), data, pfn.Amortised(net, at=[[0.3]]), key=0)
        >>> post["predictions/y"].sizes["draw"], post["predictions/mean"].shape
        (1000, (1,))
    """

    kind: ClassVar[str] = "amortised"
    calibrated_by: ClassVar[str] = (
        "bayeskit.models.pfn.check(net, model), which compares its predictions with the truth"
    )

    net: Net
    at: ArrayLike | None = None
    num_draws: int = 1000

    def __post_init__(self) -> None:
        if not isinstance(self.net, Net):
            raise MethodError(f"Amortised takes a network such as pfn.train(prior, ...) makes, got {self.net!r:.60}")
        require(
            is_whole(self.num_draws) and self.num_draws >= 1, "num_draws", self.num_draws, "an integer of at least 1"
        )

    def answer(self, model: Model, data: Any, *, key: Key) -> xr.DataTree:
        """The predictions.

        Raises:
            DataError: data without `x` or `y`, with something else, or as :meth:`Net.predict`.
            MethodError: the network was trained on another model.
        """
        net = self.net
        prior = Prior(model)
        if prior.fingerprint != net.facts.fingerprint:
            raise MethodError(
                f"the network was trained on the prior {net.facts.prior!r}, and the model {prior.name!r} is another "
                "one, or has other settings or source: train a network on it, or pass the model that this one was "
                "trained on"
            )
        given = _rows(data)
        x, y = net.checked(given["x"], given["y"])
        if x.ndim != 2:
            raise DataError(f"Amortised takes one data set, got x of shape {x.shape}")
        raw = np.asarray(raw_key(key))
        groups: dict[str, Any] = {}
        if self.at is not None:
            law = net.predict(x, y, self.at)
            groups["predictions"] = self._draws(law, raw, "query")
            groups["predictions_constant_data"] = {"x": (("query", "feature"), _columns(self.at, net))}
        elif len(y) < 2:
            raise DataError("leaving one row out needs two rows or more; pass at= to predict at new inputs")
        else:
            others = np.stack([np.delete(np.arange(len(y)), row) for row in range(len(y))])
            law = net.predict(x[others], y[others], x[:, None, :])
            log_density = np.asarray(_log_prob(law, jnp.asarray(y)[:, None]))[:, 0]
            groups["posterior_predictive"] = self._draws(law, raw, "row")
            groups["leave_one_out"] = {"log_density": (("row",), log_density)}
        groups["observed_data"] = {"y": (("row",), y)}
        groups["constant_data"] = {"x": (("row", "feature"), x)}
        return self._tree(groups, raw, net.p_value(x, y))

    def _draws(self, law: Any, raw: np.ndarray, rows: str) -> dict[str, Any]:
        moments = ("probs",) if self.net.facts.num_classes else ("mean", "variance")
        drawn, *numbers = map(np.asarray, _drawn(law, jnp.asarray(raw), self.num_draws, moments))
        draws = drawn.reshape(self.num_draws, -1)
        found: dict[str, Any] = {"y": (("chain", "draw", rows), draws[None])}
        if self.net.facts.num_classes:
            return {**found, "probability": ((rows, "class"), numbers[0].reshape(draws.shape[1], -1))}
        found["mean"] = ((rows,), numbers[0].ravel())
        found["sd"] = ((rows,), np.sqrt(numbers[1]).ravel())
        return found

    def _tree(self, groups: Mapping[str, Any], raw: np.ndarray, p_value: float) -> xr.DataTree:
        import xarray as xr

        facts = self.net.facts
        attrs = {
            **provenance(),
            "inference_library": "bayeskit",
            "method": type(self).__name__,
            "model": facts.prior,
            "network": repr(self.net),
            "network_settings": facts.settings,
            "key": json.dumps(raw.tolist()),
            "device": jax.devices()[0].device_kind,
            "num_draws": self.num_draws,
            "prior_p_value": p_value,
        }
        tree = xr.DataTree.from_dict({name: xr.Dataset(group) for name, group in groups.items()})
        tree.attrs = attrs
        return tree


@functools.partial(safe_jit, static_argnums=(2, 3))
def _drawn(law: Any, key: Array, num_draws: int, moments: tuple[str, ...]) -> tuple[Array, ...]:
    """Draws, and what else is asked for by name: one program, and not one for each operation."""
    return law.sample(key, (num_draws,)), *(getattr(law, name) for name in moments)


@safe_jit
def _log_prob(law: Any, y: Array) -> Array:
    return jnp.asarray(law.log_prob(y))


def _rows(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise DataError(f"data must be a mapping with 'x' and 'y', got {type(data).__name__}")
    for name in data:
        if name not in ("x", "y"):
            raise DataError(
                f"data has {name!r}; a network takes 'x' and 'y'{did_you_mean(str(name), ('x', 'y'), 'they are')}"
            )
    for name in ("x", "y"):
        if data.get(name) is None:
            raise DataError(f"data lack {name!r}; a network takes 'x', the inputs, and 'y', the outputs")
    return data


def _columns(at: ArrayLike, net: Net) -> np.ndarray:
    return np.asarray(at, np.float32).reshape(-1, net.facts.num_features)
