"""What one trace of a program says about its sites."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Container
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.extend.core import get_opaque_trace_state
from numpyro import handlers
from numpyro.distributions import Delta, biject_to

from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import Program, is_prior_factor
from bayeskit.program.failure import Last, named_failures
from bayeskit.program.shapes import check_observation
from bayeskit.program.sites import describe, elements, innermost, is_everywhere
from bayeskit.target.reparameterised import Made, is_circular, made_within, with_reparameterisations

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
class SiteFacts:
    """The static facts of one site.

    Attributes:
        name: the site's name.
        kind: ``"latent"`` (continuous), ``"discrete"`` (latent, summed out), ``"observed"``, ``"factor"``,
            ``"deterministic"``.
        shape: shape of the constrained value.
        event_dim: how many trailing dimensions are one event.
        plates: the plates around it, outermost first.
        distribution: how the distribution prints in messages.
        unconstrained_shape: shape of the unconstrained value; differs from ``shape`` for a simplex, say.
        is_prior: whether it counts as prior (latent sites, and factors marked so).
        guarded: an observed site whose support is not the whole real line, so that a value can lie outside.
        circular: whether the values are angles, of which -pi and pi are the same.
        auxiliary_of: the site that the model sees in the place of this one, several of whose values mean the same.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    event_dim: int
    plates: tuple[Plate, ...]
    distribution: str
    unconstrained_shape: tuple[int, ...] = ()
    is_prior: bool = False
    guarded: bool = False
    circular: bool = False
    auxiliary_of: str = ""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The part of the shape that counts elements, without the event."""
        return self.shape[: len(self.shape) - self.event_dim]

    def dims(self, sites: Container[str]) -> list[str | None]:
        """Plate names by dimension of the value, ``None`` where no plate names it.

        A plate with the name of one of the ``sites`` is told apart from it by its ending.
        """
        batch = len(self.batch_shape)
        names: list[str | None] = [None] * len(self.shape)
        for plate in self.plates:
            position = batch + plate.dim
            if 0 <= position < batch and self.shape[position] == plate.size:
                names[position] = f"{plate.name}_plate" if plate.name in sites else plate.name
        return names


@dataclasses.dataclass(frozen=True)
class Structure:
    """All sites of a program, in order, and what concerns the model as a whole.

    Attributes:
        sites: their facts, in the order of the model.
        subsampled: names of the plates that subsample.
        batches: of each of these, how many rows there are, and how many of them a batch takes.
        max_plate_nesting: how many dimensions, counted from the right, plates occupy.
        scans: whether there is a ``numpyro.contrib.control_flow`` loop or branch.
        impossible: whether discrete sites in a scan have values, or steps between them, of probability zero.
    """

    sites: tuple[SiteFacts, ...]
    subsampled: tuple[str, ...]
    batches: tuple[tuple[int, int], ...]
    max_plate_nesting: int
    scans: bool = False
    impossible: bool = False

    def of_kind(self, *kinds: Kind) -> tuple[SiteFacts, ...]:
        """The sites of these kinds, in the model's order."""
        return tuple(site for site in self.sites if site.kind in kinds)

    def zeros(self) -> Values:
        """The origin of the unconstrained values."""
        return {site.name: jnp.zeros(site.unconstrained_shape) for site in self.of_kind("latent")}

    def origin(self) -> dict[str, np.ndarray]:
        """The same on the host, as arguments of a program: to make them is no program of its own."""
        dtype = jnp.result_type(float)
        return {site.name: np.zeros(site.unconstrained_shape, dtype) for site in self.of_kind("latent")}

    def __getitem__(self, name: str) -> SiteFacts:
        for site in self.sites:
            if site.name == name:
                return site
        raise KeyError(name)


class Watch(Last):
    """Remembers the last site reached, and refuses what would give a wrong density in silence."""

    def __init__(self, fn: Any = None):
        super().__init__(fn)
        self.state = get_opaque_trace_state()
        self.scans = self.reversed = False
        self.made: list[Made] = []

    def process_message(self, msg: Any) -> None:
        """NumPyro's hook, called at every site."""
        name, kind = msg.get("name"), msg["type"]
        if kind == "control_flow":
            self.scans = True
            self.reversed = self.reversed or (msg["fn"].__name__ == "scan_wrapper" and bool(msg["args"][4]))
        self.made += made_within(msg, inspect.currentframe())
        if name is None or kind not in ("sample", "param", "prng_key", "mutable"):
            return
        if kind == "sample":
            if get_opaque_trace_state() != self.state:
                raise ModelError(
                    f"site {name!r} is inside a raw jax transform (scan, cond, vmap, jit, ...), where NumPyro loses "
                    "it; use numpyro.contrib.control_flow or a plate"
                )
            if msg["kwargs"].get("rng_key") is not None and not msg["is_observed"]:
                raise ModelError(
                    f"site {name!r} is given a key by the model (rng_key=, or handlers.seed inside it); leave that "
                    "out, keys come from key="
                )
        if kind == "param":
            raise ModelError(
                f"site {name!r} is a numpyro.param, which sampling cannot fit; give it a prior with numpyro.sample"
            )
        if kind in ("prng_key", "mutable"):
            raise ModelError(
                f"site {name!r} ({kind}) makes the density random or stateful; pass the value as data instead"
            )
        super().process_message(msg)


def place(values: Values | None, site: Site) -> Array | None:
    """Value of a latent site from its unconstrained value, recording the log Jacobian as a site of its own.

    A function for ``handlers.substitute``: ``None`` leaves the site to the handlers around it. With ``values=None`` a
    site is put at the image of zero, for learning the structure of a model.
    """
    name = site["name"]
    if site["type"] != "sample" or site["is_observed"] or site["fn"].support.is_discrete:
        return None
    distribution = site["fn"]
    try:
        # read off the site under way, whose support may depend on values placed before it
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
    # One number for each element of the batch, as the density has: an elementwise transform inside an event has a
    # determinant for each coordinate.
    extra = jnp.ndim(log_det) - (jnp.ndim(value) - len(distribution.event_shape))
    if extra > 0:
        log_det = jnp.sum(log_det, axis=tuple(range(-extra, 0)))
    # A factor made here, while the site is under way, passes the plates, scales and masks of the model that the site
    # passes: the Jacobian counts wherever, and as often as, the density of the unconstrained value does.
    if site["infer"].get("_scan_current_index") is None:
        numpyro.factor(JACOBIAN + name, log_det)
    else:
        # what a scan stacks is given its new batch shape by its parameters, which a factor's distribution does not
        # declare: beside an enumerated site it would be left without one
        zero = jnp.zeros(jnp.shape(log_det))
        point = Delta(zero, log_density=log_det)
        numpyro.sample(JACOBIAN + name, point, obs=zero, infer={"is_auxiliary": True})
    return value


def _at_scan_step(value: Array, site: Site, transform: Any) -> Array:
    """Inside NumPyro's ``scan`` a site stands for one step, while its value carries all steps."""
    step = site["infer"].get("_scan_current_index")
    if step is None:
        return value
    one_step = len(transform.inverse_shape(tuple(site["fn"].shape())))
    return value[step] if jnp.ndim(value) > one_step else value


def trace_at_zero(program: Callable[..., object]) -> dict[str, Site]:
    """One trace with the continuous latent sites at the image of zero, and everything else drawn."""
    model = handlers.substitute(program, substitute_fn=lambda site: place(None, site))
    with handlers.seed(rng_seed=jax.random.PRNGKey(0)):
        return handlers.trace(model).get_trace()


def subsampling(sites: dict[str, Site]) -> dict[str, tuple[int, int]]:
    """The plates that subsample: how many rows each has, and how many of them it takes."""
    sizes = {name: site["args"] for name, site in sites.items() if site["type"] == "plate"}
    return {name: (int(n), int(m)) for name, (n, m) in sizes.items() if m is not None and m < n}


def learn_structure(program: Program) -> Structure:
    """Trace the program once, abstractly (nothing is computed), and check what can be checked from shapes."""
    watch: list[Watch] = []
    infos: list[SiteFacts] = []
    parts: dict[str, tuple[int, int]] = {}

    def run() -> None:
        watch.append(Watch(program))  # made here, under the transform in which sites are to be reached
        sites = trace_at_zero(watch[0])
        found = [info for site in sites.values() if (info := _read(site)) is not None]
        infos.extend(with_reparameterisations(found, watch[0].made))
        parts.update(subsampling(sites))

    with named_failures(program, watch):
        jax.eval_shape(run)
    nesting = max((-plate.dim for info in infos for plate in info.plates), default=0)
    _check_plates(infos)
    if not watch[0].scans:
        _check_enumerable(infos)
    discrete = [info.name for info in infos if info.kind == "discrete"]
    if watch[0].reversed and discrete:
        raise ModelError(
            f"model {program.name!r}: the discrete site {discrete[0]!r} would be summed out in the wrong order in a "
            "scan with reverse=True; reverse the inputs of the scan instead"
        )
    return Structure(tuple(infos), tuple(parts), tuple(parts.values()), nesting, watch[0].scans)


def facts_of(site: Site, kind: Kind) -> SiteFacts:
    """The facts of a site of a trace that can be read off it without knowing what for."""
    name, shape = site["name"], tuple(jnp.shape(site["value"]))
    plates = tuple(Plate(f.name, f.dim, f.size) for f in site["cond_indep_stack"] if f.dim is not None)
    if kind == "deterministic":
        return SiteFacts(name, kind, shape, 0, plates, kind)
    distribution = site["fn"]
    if kind == "factor":  # its value is empty; the elements are those of the factor
        return SiteFacts(name, kind, tuple(distribution.batch_shape), 0, plates, describe(distribution))
    return SiteFacts(name, kind, shape, distribution.event_dim, plates, describe(distribution))


def _read(site: Site) -> SiteFacts | None:
    if site["type"] not in ("sample", "deterministic") or JACOBIAN in site["name"]:
        return None
    if site["type"] == "deterministic":
        return facts_of(site, "deterministic")
    if site["infer"].get("is_auxiliary"):
        return dataclasses.replace(facts_of(site, "factor"), is_prior=is_prior_factor(site))
    support = site["fn"].support
    if site["is_observed"]:
        if not (hasattr(site["value"], "shape") or isinstance(site["value"], bool | int | float | complex)):
            raise ModelError(
                f"observed site {site['name']!r}: obs is a {type(site['value']).__name__}, not an array; containers, "
                "and tuples of whole numbers, reach the model as they are"
            )
        facts = dataclasses.replace(facts_of(site, "observed"), guarded=not is_everywhere(support))
        check_observation(site, facts.shape)
        return facts
    if support.is_discrete:
        if not site["fn"].has_enumerate_support:
            raise ModelError(
                f"site {site['name']!r} ({describe(site['fn'])}) is a discrete latent whose support cannot be "
                "enumerated; sum it out by hand, or replace it by a continuous site"
            )
        _check_support(site)
        return dataclasses.replace(facts_of(site, "discrete"), is_prior=True)
    if isinstance(innermost(site["fn"]), Delta):
        raise ModelError(
            f"site {site['name']!r} is a Delta, a constant and no unknown; use numpyro.deterministic({site['name']!r}, "
            "value)"
        )
    facts = facts_of(site, "latent")
    unconstrained = tuple(biject_to(support).inverse_shape(facts.shape))
    circular = is_circular(support)
    return dataclasses.replace(facts, is_prior=True, unconstrained_shape=unconstrained, circular=circular)


def _check_support(site: Site) -> None:
    """NumPyro's sums number the values from zero, whatever they are."""
    name, kind = site["name"], describe(site["fn"])
    try:
        with jax.ensure_compile_time_eval():
            support = np.asarray(elements(site["fn"]).enumerate_support(expand=False)).reshape(-1)
    except Exception as error:
        raise ModelError(
            f"site {name!r} ({kind}) is a discrete latent whose values cannot be enumerated "
            f"({type(error).__name__}: {error or 'no reason given'}); they must not depend on latent values, and must "
            "be the same for all elements"
        ) from error
    if not np.array_equal(support, np.arange(len(support))):
        raise ModelError(
            f"site {name!r} ({kind}) takes the values {support[0]} to {support[-1]}, and only values from 0 on are "
            f"summed out rightly; write it as one that starts at 0, and add {support[0]} where it is used"
        )


def _check_plates(infos: list[SiteFacts]) -> None:
    """A plate is one dimension of one size, wherever it stands: labels are given by its name."""
    known: dict[str, tuple[Plate, str]] = {}
    for info in infos:
        for plate in info.plates:
            if plate.name in ("chain", "draw"):
                raise ModelError(
                    f"plate {plate.name!r} (at site {info.name!r}) has the name of a dimension of every "
                    "posterior; give it another"
                )
            first, site = known.setdefault(plate.name, (plate, info.name))
            if first.size != plate.size:
                raise ModelError(
                    f"plate {plate.name!r} has sizes {first.size} and {plate.size} (at site {info.name!r})"
                )
            if first.dim != plate.dim:
                raise ModelError(
                    f"plate {plate.name!r} is dimension {first.dim} at site {site!r} and {plate.dim} at site "
                    f"{info.name!r}; give it one `dim`, or two plates two names"
                )


def _check_enumerable(infos: list[SiteFacts]) -> None:
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
