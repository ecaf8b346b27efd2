r"""`train`: a network from a prior.

With data sets $(x_i, y_i)_{i \le R}$ drawn from the prior and a number $n$ of rows that are shown, uniform on
$0, \dots, R - 1$ and drawn anew for each data set, the loss is

.. math:: L(\theta) = -\mathbb{E}\, \frac{1}{R - n} \sum_{i = n + 1}^R \log q_\theta(y_i \mid x_i, x_{1:n}, y_{1:n}),

which is the mean entropy of the posterior predictive plus its divergence from $q_\theta$ (Müller et al. 2022, corollary
1.1), so that its minimum is the posterior predictive of every context size.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayeskit._keepable import keepable
from bayeskit._keys import raw_key
from bayeskit._settings import check_choice, is_number, is_whole, require
from bayeskit._typing import Array, Key, Model
from bayeskit.distributions.histogram import equal_mass_edges
from bayeskit.errors import DataError, MethodError, ModelError, StorageError
from bayeskit.models.pfn.heads import ClassHead, Head, HistogramHead, MixtureHead, scale_of
from bayeskit.models.pfn.net import Facts, Net, Network
from bayeskit.models.pfn.network import Sizes, set_network
from bayeskit.models.pfn.objective import PRECISIONS, Start, gap_of, loss_of, schedule
from bayeskit.models.pfn.prior import Prior
from bayeskit.models.pfn.reference import NUM_SETS, reference_of
from bayeskit.models.pfn.table_network import table_network
from bayeskit.storage import load, save
from bayeskit.train import Block, Checkpoint, Stopped, minimise

__all__ = ["Unfinished", "resume", "train"]

NETWORKS: dict[str, Callable[..., Network]] = {"set": set_network, "table": table_network}
BLOCK = 25
DRAWS_OF_PRIOR = 40_000
FEWEST_SETS = 256
_UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600}
_GAP_EVERY = 0.1


@keepable("pfn.Settings")
@dataclasses.dataclass(frozen=True)
class Settings:
    """Those of a training, as a checkpoint keeps them."""

    num_steps: int | None
    budget: float | None
    batch_size: int
    learning_rate: float
    head: str
    num_bars: int
    sizes: Sizes
    missing: bool
    precision: str
    network: str = "set"


@keepable("pfn.Unfinished")
@dataclasses.dataclass(frozen=True)
class Unfinished:
    """A training that was interrupted."""

    checkpoint: Checkpoint
    settings: Settings
    key: np.ndarray
    fingerprint: str


def train(
    prior: Model,
    *,
    key: Key,
    budget: float | str | None = None,
    num_steps: int | None = None,
    head: str | None = None,
    network: str = "set",
    num_bars: int = 256,
    width: int = 64,
    num_layers: int = 4,
    num_heads: int = 2,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    missing: bool = False,
    precision: str = "float32",
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Net:
    """Train a network to predict from data sets like those of a prior.

    Data sets are drawn as they are needed and never twice. Steps are of Adam, with clipped gradients, a short warm-up,
    and a learning rate that falls to 0 over the second half of the training. Over several devices the batch is divided
    between them.

    Args:
        prior: a NumPyro model without arguments with sites `x`, `(rows,)` or `(rows, features)`, and `y`, `(rows,)`;
            one of :mod:`bayeskit.models.pfn.priors`, for instance. The order of rows is drawn anew each time.
            Where it has a method `exact`, as those have whose posterior predictive is known, the progress bar shows how
            far the network is from it, in nats a row.
        key: an integer seed or a JAX key. With `num_steps` the same key gives the same network on the same machine.
        budget: how long it may take, in seconds or as ``"90s"``, ``"5min"``, ``"1h"``; compilation counts.
        num_steps: how many steps to take, in the place of a budget or beside one.
        head: ``"histogram"`` (for real numbers, by default) or ``"mixture"`` of normals; ``"classes"`` for classes.
        network: ``"set"``, whose tokens are rows, or ``"table"``, whose tokens are cells: slower, with columns in units
            of their own, the order of which does not matter; and with `missing` there may be fewer of them.
        num_bars: of a histogram; more where predictions are narrow beside the prior.
        width: numbers by which a row, or a cell, is represented.
        num_layers: layers of the transformer.
        num_heads: attention heads of a layer; they divide `width`.
        batch_size: data sets a step.
        learning_rate: the highest.
        missing: whether NaN in `x` is a missing input, which the network then learns to do without.
        precision: of the network during training, ``"float32"`` or ``"bfloat16"``; the parameters are kept in float32.
        checkpoint: a path, ``.zarr`` or ``.nc``, at which to keep where the training has got to, after every tenth of
            it; :func:`resume` goes on from there.
        progress: show a progress bar.

    Ctrl-C ends it with a warning, and returns the network as it is then.

    Raises:
        ModelError: the prior lacks a site, or draws what is not finite (named by its site).
        MethodError: an impossible setting.
        TrainingError: the loss is not finite.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> from bayeskit.models import pfn
        >>> def prior():
        ...     slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        ...     with numpyro.plate("rows", 10):
        ...         x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        ...         numpyro.sample("y", dist.Normal(slope * x, 0.1))
        >>> net = pfn.train(prior, num_steps=20, width=16, num_layers=1, key=0, progress=False)
        >>> net.predict([1.0], [2.0], [0.5, 3.0]).icdf(0.5).shape
        (2,)

    References:
        Müller, Hollmann, Pineda Arango, Grabocka and Hutter (2022), "Transformers can do Bayesian inference".
    """
    read = Prior(prior)
    settings = Settings(
        num_steps=_steps(num_steps),
        budget=None if budget is None else seconds_of(budget),
        batch_size=batch_size,
        learning_rate=learning_rate,
        head=_head(head, read),
        num_bars=num_bars,
        sizes=Sizes(width, num_layers, num_heads),
        missing=bool(missing),
        precision=precision,
        network=network,
    )
    _check(settings)
    return _train(read, settings, np.asarray(raw_key(key)), checkpoint, progress, None)


def resume(prior: Model, path: str | os.PathLike[str], *, progress: bool = True) -> Net:
    """Go on with a training that was interrupted; with `num_steps` the network is the one that it would have been.

    Args:
        prior: the same model.
        path: the `checkpoint` of the training.
        progress: show a progress bar.

    Raises:
        StorageError: there is no checkpoint at `path`.
        ModelError: the prior is another one.
    """
    kept: Any = load(path)
    if not isinstance(kept, Unfinished):
        raise StorageError(f"{os.fspath(path)} holds {type(kept).__name__}, and not a checkpoint of pfn.train")
    read = Prior(prior)
    if read.fingerprint != kept.fingerprint:
        raise ModelError(
            f"the checkpoint at {os.fspath(path)} is of the prior {kept.fingerprint.split(':')[0]!r} with other source "
            "or settings; resume needs the same prior"
        )
    return _train(read, kept.settings, kept.key, path, progress, kept.checkpoint)


def seconds_of(budget: float | str) -> float:
    """A budget in seconds.

    Raises:
        MethodError: not a positive time.

    Example:
        >>> seconds_of("1.5min"), seconds_of(20)
        (90.0, 20.0)
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", budget) if isinstance(budget, str) else None
    try:
        found = float(match[1]) * _UNITS[match[2] or "s"] if match else float(budget)
    except (KeyError, ValueError, TypeError):
        found = -1.0
    if not (isinstance(budget, str | int | float) and not isinstance(budget, bool) and 0 < found < float("inf")):
        raise MethodError(f"budget must be a positive time such as 60, '90s', '5min' or '1h', got {budget!r}")
    return found


def _steps(num_steps: int | None) -> int | None:
    if num_steps is not None:
        require(is_whole(num_steps) and num_steps >= 1, "num_steps", num_steps, "a positive integer")
    return num_steps


def _head(head: str | None, prior: Prior) -> str:
    fitting = ("classes",) if prior.num_classes else ("histogram", "mixture")
    if head is None:
        return fitting[0]
    check_choice("head", head, ("histogram", "mixture", "classes"))
    if head not in fitting:
        what = f"{prior.num_classes} classes" if prior.num_classes else "real numbers"
        raise MethodError(
            f"the prior {prior.name!r} draws {what} at 'y', so head must be {' or '.join(map(repr, fitting))}"
        )
    return head


def _check(settings: Settings) -> None:
    """The settings are possible.

    Raises:
        MethodError: one is not.
    """
    if settings.num_steps is None and settings.budget is None:
        raise MethodError("give a budget such as budget='60s', or num_steps=")
    for name, value in (
        ("batch_size", settings.batch_size),
        ("num_bars", settings.num_bars),
        *settings.sizes._asdict().items(),
    ):
        require(is_whole(value) and value >= 1, name, value, "a positive integer")
    require(settings.num_bars >= 3, "num_bars", settings.num_bars, "at least 3")
    rate = settings.learning_rate
    require(is_number(rate) and 0 < rate < 1, "learning_rate", rate, "a number between 0 and 1")
    sizes = settings.sizes
    require(sizes.width % sizes.num_heads == 0, "num_heads", sizes.num_heads, f"a divisor of width={sizes.width}")
    check_choice("precision", settings.precision, tuple(PRECISIONS))
    check_choice("network", settings.network, tuple(NETWORKS))


def _start(prior: Prior, settings: Settings, key: Array) -> Start:
    """The network before training, in units of the prior."""
    prior_key, network_key = jax.random.split(key)
    num = max(FEWEST_SETS, DRAWS_OF_PRIOR // prior.num_rows) if not prior.num_classes else FEWEST_SETS
    x, y = prior.look(prior_key, num, missing=settings.missing)
    columns = x.reshape(-1, prior.num_features)
    known = [column[np.isfinite(column)] for column in columns.T]
    if any(not column.size for column in known):
        raise ModelError(f"the prior {prior.name!r} has an input that is always missing")
    centre, spread = map(np.array, zip(*(scale_of(column) for column in known), strict=True))
    spread = np.where(spread > 0, spread, 1.0)
    head: Head
    if prior.num_classes:
        head = ClassHead(prior.num_classes)
    else:
        mean, sd = (jnp.asarray(one, jnp.float32) for one in scale_of(y.ravel()))
        if settings.head == "histogram":
            try:
                edges = equal_mass_edges(y, settings.num_bars)
            except DataError as error:
                raise ModelError(f"site 'y' of the prior {prior.name!r}: {error}") from None
            head = HistogramHead(mean, sd, jnp.asarray(edges, jnp.float32))
        else:
            head = MixtureHead(mean, sd)
    make = NETWORKS[settings.network]
    network = make(network_key, prior.num_features, head.num_inputs, head.size, settings.sizes)
    if network.columns_alike:
        centre, spread = np.zeros_like(centre), np.ones_like(spread)
    return Start(network, head, jnp.asarray(centre, jnp.float32), jnp.asarray(spread, jnp.float32))


def _train(
    prior: Prior,
    settings: Settings,
    raw: np.ndarray,
    path: str | os.PathLike[str] | None,
    progress: bool,
    kept: Checkpoint | None,
) -> Net:
    begin = time.perf_counter()
    start_key, steps_key, gap_key, reference_key = jax.random.split(jnp.asarray(raw), 4)
    start = _start(prior, settings, start_key)
    devices = len(jax.local_devices())
    devices = devices if settings.batch_size % devices == 0 else 1
    gap = gap_of(prior, start, gap_key)
    last_gap: list[Any] = [0.0, ""]
    last_kept = [0.0]

    def report(block: Block[Network]) -> str:
        if gap is None:
            return f"loss {block.loss:.3f}"
        if not last_gap[1] or block.share - last_gap[0] >= _GAP_EVERY:
            last_gap[:] = [block.share, f"gap {float(gap(block.parameters)):.3f}"]
        return f"loss {block.loss:.3f}, {last_gap[1]}"

    def keep(checkpoint: Checkpoint) -> None:
        if checkpoint.share - last_kept[0] >= 0.1 or checkpoint.share >= 1.0:
            last_kept[0] = checkpoint.share
            assert path is not None
            save(Unfinished(checkpoint, settings, raw, prior.fingerprint), path)

    done = minimise(
        loss_of(prior, start, settings.batch_size, settings.precision, devices),
        start.network,
        key=steps_key,
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(settings.learning_rate, b2=0.98)),
        num_steps=settings.num_steps,
        budget=None if settings.budget is None else max(settings.budget - (time.perf_counter() - begin), 1.0),
        schedule=schedule,
        block=BLOCK,
        progress=progress,
        interruptible=True,
        report=report if progress else None,
        checkpoint=kept,
        keep=None if path is None else keep,
    )
    if done.training.stopped == Stopped.BY_HAND:
        warnings.warn(
            f"the training was interrupted after {len(done.losses):,} steps; this is the network of then, before its "
            "learning rate has fallen to zero" + ("" if path is None else "; pfn.resume goes on from its checkpoint"),
            UserWarning,
            stacklevel=3,
        )
    plain = {**dataclasses.asdict(settings), "sizes": settings.sizes._asdict()}
    facts = Facts(
        prior=prior.name,
        fingerprint=prior.fingerprint,
        num_rows=prior.num_rows,
        num_features=prior.num_features,
        num_classes=prior.num_classes,
        missing=settings.missing,
        settings=json.dumps({**plain, "key": raw.tolist()}),
    )
    x, y = map(np.asarray, prior.draw(reference_key, NUM_SETS))
    inputs = (x - np.asarray(start.centre)) / np.asarray(start.spread)
    reference = reference_of(done.parameters, start.head, inputs, y)
    return Net(done.parameters, start.head, start.centre, start.spread, facts, reference, done.training)
