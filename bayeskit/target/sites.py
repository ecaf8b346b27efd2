"""What one trace of a program says about its sites."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpyro
from jax.extend.core import get_opaque_trace_state
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.primitives import Messenger

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import Program, is_prior_factor
from bayeskit.program.shapes import check_observation
from bayeskit.program.sites import describe, is_everywhere

Kind = Literal["latent", "discrete", "observed", "factor", "deterministic"]
Site = dict[str, Any]
JACOBIAN = "__jacobian__/"


@dataclasses.dataclass(frozen=True)
class Plate:
    """A plate around a site: its name, the (negative) batch dimension it occupies, and its size."""

    name: str
    dim: int
    size: int


@dataclasses.dataclass(frozen=True)
class SiteInfo:
    """The static facts of one site.

    Attributes:
        name: the site's name.
        kind: ``"latent"`` (continuous), ``"discrete"`` (latent, summed out), ``"observed"``, ``"factor"``,
            ``"deterministic"``.
        shape: shape of the constrained value.
        unconstrained_shape: shape of the unconstrained value; differs from ``shape`` for a simplex, say.
        event_dim: how many trailing dimensions are one event.
        plates: the plates around it, outermost first.
        distribution: how the distribution prints in messages.
        is_prior: whether it counts as prior (latent sites, and factors marked so).
        guarded: an observed site whose support is not the whole real line, so that a value can lie outside.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    unconstrained_shape: tuple[int, ...]
    event_dim: int
    plates: tuple[Plate, ...]
    distribution: str
    is_prior: bool
    guarded: bool = False

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The part of the shape that counts elements, without the event."""
        return self.shape[: len(self.shape) - self.event_dim]

    def dims(self) -> tuple[str | None, ...]:
        """Plate names by dimension of the value, ``None`` where no plate names it."""
        batch = len(self.batch_shape)
        names: list[str | None] = [None] * len(self.shape)
        for plate in self.plates:
            position = batch + plate.dim
            if 0 <= position < batch and self.shape[position] == plate.size:
                names[position] = plate.name
        return tuple(names)


@dataclasses.dataclass(frozen=True)
class Structure:
    """All sites of a program, in order, and what concerns the model as a whole."""

    sites: tuple[SiteInfo, ...]
    subsampled: tuple[str, ...]
    batches: tuple[tuple[int, int], ...]
    max_plate_nesting: int
    scans: bool = False

    def of_kind(self, *kinds: Kind) -> tuple[SiteInfo, ...]:
        """The sites of these kinds, in the model's order."""
        return tuple(site for site in self.sites if site.kind in kinds)

    def __getitem__(self, name: str) -> SiteInfo:
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)


class Watch(Messenger):
    """Remembers the last site reached, and refuses what would give a wrong density in silence."""

    def __init__(self, fn: Any = None):
        super().__init__(fn)
        self.last: str | None = None
        self.state = get_opaque_trace_state()
        self.scans = False

    def process_message(self, msg: Any) -> None:
        """NumPyro's hook, called at every site."""
        name, kind = msg.get("name"), msg["type"]
        self.scans = self.scans or kind == "control_flow"
        if name is None or kind not in ("sample", "param", "prng_key", "mutable"):
            return
        if kind == "sample":
            if get_opaque_trace_state() != self.state:
                raise ModelError(
                    f"site {name!r} is inside a raw jax transform (scan, cond, vmap, jit, ...), where NumPyro loses "
                    "it; use numpyro.contrib.control_flow or a plate"
                )
            if msg["kwargs"].get("rng_key") is not None and not msg["is_observed"]:
                raise ModelError(f"site {name!r} is given an rng_key of its own; let bayeskit seed it")
        if kind == "param":
            raise ModelError(
                f"site {name!r} is a numpyro.param, which sampling cannot fit; give it a prior with numpyro.sample"
            )
        if kind in ("prng_key", "mutable"):
            raise ModelError(
                f"site {name!r} ({kind}) makes the density random or stateful; pass the value as data instead"
            )
        if not name.startswith(JACOBIAN):
            self.last = name


def place(values: Values | None, site: Site) -> Array | None:
    """Value of a latent site from its unconstrained value, recording the log Jacobian as a site of its own.

    With ``values=None`` the site is put at the image of zero: for learning the structure of a model. The support is
    read off the site at hand, so it may depend on earlier values.
    """
    name = site["name"]
    if site["type"] != "sample" or site["is_observed"] or site["fn"].support.is_discrete:
        return None
    distribution = site["fn"]
    try:
        transform = biject_to(distribution.support)
    except NotImplementedError:
        raise ModelError(
            f"site {name!r} ({describe(distribution)}) has support {distribution.support}, for which there is no "
            "bijection from the real line; write it as a transformed or reparameterised site"
        ) from None
    if values is None:
        unconstrained = jnp.zeros(transform.inverse_shape(tuple(distribution.shape())))
    elif name in values:
        unconstrained = _at_scan_step(values[name], site, transform)
    else:
        return None
    value = transform(unconstrained)
    log_det = transform.log_abs_det_jacobian(unconstrained, value)
    extra = jnp.ndim(log_det) - (jnp.ndim(value) - len(distribution.event_shape))
    if extra > 0:
        log_det = jnp.sum(log_det, axis=tuple(range(-extra, 0)))
    numpyro.factor(JACOBIAN + name, log_det)
    return value


def _at_scan_step(value: Array, site: Site, transform: Any) -> Array:
    """Inside NumPyro's ``scan`` a site stands for one step, while its value carries all steps."""
    step = site["infer"].get("_scan_current_index")
    if step is None:
        return value
    one_step = len(transform.inverse_shape(tuple(site["fn"].shape())))
    return value[step] if jnp.ndim(value) > one_step else value


def learn_structure(program: Program) -> Structure:
    """Trace the program once, abstractly (nothing is computed), and check what can be checked from shapes."""

    def run() -> None:
        watch = Watch(program)
        model = handlers.substitute(watch, substitute_fn=lambda site: place(None, site))
        try:
            with handlers.seed(rng_seed=jax.random.PRNGKey(0)), handlers.trace() as sites:
                model()
        except (ModelError, jax.errors.UnexpectedTracerError):
            raise
        except Exception as error:
            raise ModelError(_failure(program, watch.last, error)) from error
        scans.append(watch.scans)
        infos.extend(info for site in sites.values() if (info := _read(site)) is not None)
        plates.extend(site for site in sites.values() if site["type"] == "plate")

    infos: list[SiteInfo] = []
    plates: list[Site] = []
    scans: list[bool] = []
    try:
        jax.eval_shape(run)
    except jax.errors.UnexpectedTracerError:
        raise ModelError(
            "a value leaked out of a jax transform inside the model: numpyro.sample or numpyro.deterministic inside "
            "a raw lax.scan, cond, vmap or jit; use numpyro.contrib.control_flow or a plate"
        ) from None
    parts = [p for p in plates if p["args"][1] is not None and p["args"][1] < p["args"][0]]
    subsampled = tuple(p["name"] for p in parts)
    batches = tuple((int(p["args"][0]), int(p["args"][1])) for p in parts)
    nesting = max((-plate.dim for info in infos for plate in info.plates), default=0)
    _check_plate_sizes(infos)
    if not scans[0]:
        _check_enumerable(infos)
    return Structure(tuple(infos), subsampled, batches, nesting, scans[0])


def _failure(program: Program, last: str | None, error: Exception) -> str:
    if isinstance(error, AssertionError) and "unique names" in str(error):
        return f"model {program.name!r}: {error}"
    where = f"after site {last!r}" if last else "before its first site"
    shapes = ", ".join(f"{name} {array.shape}" for name, array in program.arrays.items()) or "none"
    detail = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return f"model {program.name!r} failed {where}: {type(error).__name__}: {detail} (data shapes: {shapes})"


def _read(site: Site) -> SiteInfo | None:
    if site["type"] not in ("sample", "deterministic") or site["name"].startswith(JACOBIAN):
        return None
    shape = tuple(jnp.shape(site["value"]))
    plates = tuple(Plate(f.name, f.dim, f.size) for f in site["cond_indep_stack"] if f.dim is not None)
    if site["type"] == "deterministic":
        return SiteInfo(site["name"], "deterministic", shape, (), 0, plates, "deterministic", False)
    distribution, name = site["fn"], site["name"]
    event_dim = distribution.event_dim
    kind: Kind
    unconstrained: tuple[int, ...] = ()
    if site["infer"].get("is_auxiliary"):
        kind = "factor"
    elif site["is_observed"]:
        kind = "observed"
        check_observation(site, shape)
    elif distribution.support.is_discrete:
        kind = "discrete"
        if not distribution.has_enumerate_support:
            raise ModelError(
                f"site {name!r} ({describe(distribution)}) is a discrete latent whose support cannot be enumerated; "
                "sum it out by hand, or replace it by a continuous site"
            )
    else:
        kind = "latent"
        unconstrained = tuple(biject_to(distribution.support).inverse_shape(shape))
    if kind == "factor":
        shape = tuple(distribution.batch_shape)
        event_dim = 0
    is_prior = kind in ("latent", "discrete") or is_prior_factor(site)
    guarded = kind == "observed" and not is_everywhere(distribution.support)
    return SiteInfo(name, kind, shape, unconstrained, event_dim, plates, describe(distribution), is_prior, guarded)


def _check_plate_sizes(infos: list[SiteInfo]) -> None:
    sizes: dict[str, int] = {}
    for info in infos:
        for plate in info.plates:
            if sizes.setdefault(plate.name, plate.size) != plate.size:
                raise ModelError(
                    f"plate {plate.name!r} has sizes {sizes[plate.name]} and {plate.size} (at site {info.name!r})"
                )


def _check_enumerable(infos: list[SiteInfo]) -> None:
    """Summing out needs to know which dimensions are independent: every batch dimension is a plate, or an event."""
    discrete = [info.name for info in infos if info.kind == "discrete"]
    if not discrete:
        return
    for info in infos:
        known = {plate.dim for plate in info.plates}
        batch = info.batch_shape
        for dim in range(-len(batch), 0):
            if info.kind != "deterministic" and batch[dim] > 1 and dim not in known:
                raise ModelError(
                    f"site {info.name!r} has batch shape {batch} but no plate for dimension {dim}; summing out the "
                    f"discrete site {discrete[0]!r} needs a numpyro.plate there, or .to_event() on the distribution"
                )
