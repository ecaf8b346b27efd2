"""Which sites are angles, and which only make one: a row is a model, and what is to be found in it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import AffineTransform, ExpTransform
from numpyro.handlers import reparam, scope
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoDiagonalNormal
from numpyro.infer.reparam import (
    CircularReparam,
    DiscreteCosineReparam,
    ExplicitReparam,
    HaarReparam,
    LocScaleReparam,
    NeuTraReparam,
    ProjectedNormalReparam,
    Reparam,
    TransformReparam,
)

import bayeskit as bk

CONFIG = {"theta": CircularReparam()}


class Expanded(Reparam):
    """A normal site as the product of two, of which only the product is seen."""

    def __call__(self, name, fn, obs):
        return None, numpyro.sample(f"{name}_scale", dist.Normal(0.0, 1.0)) * numpyro.sample(f"{name}_raw", fn)


def latent():
    numpyro.sample("theta", dist.VonMises(0.0, 1.0).expand([3]).to_event(1))
    numpyro.sample("interval", dist.Uniform(-jnp.pi, jnp.pi))


def circular():
    with numpyro.plate("n", 3):
        numpyro.sample("theta", dist.VonMises(0.0, 1.0))


def torus():
    numpyro.sample("theta", dist.SineBivariateVonMises(0.0, 0.0, 1.0, 1.0, 0.1))


def outside_a_scope():
    with scope(prefix="a"):
        circular()


def within_a_plate():
    with numpyro.plate("n", 3), reparam(config={"theta": CircularReparam(), "x": LocScaleReparam(0.0)}):
        numpyro.sample("theta", dist.VonMises(0.0, 1.0))
        numpyro.sample("x", dist.Normal(0.0, 2.0))


def direction():
    numpyro.sample("d", dist.ProjectedNormal(jnp.array([0.3, 0.0, 1.0])))


def one_to_one():
    numpyro.sample("a", dist.Normal(0.0, 2.0))
    numpyro.sample("b", dist.TransformedDistribution(dist.Normal(0.0, 1.0), AffineTransform(1.0, 2.0)))
    numpyro.sample("c", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
    numpyro.sample("e", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
    numpyro.sample("f", dist.Gamma(2.0, 1.0))


def regression():
    with numpyro.plate("n", 3):
        numpyro.sample("x", dist.Normal(0.0, 1.0))


def transported():
    """All sites share one auxiliary site, which is made with the first of them and has the coordinates of all."""
    guide = AutoDiagonalNormal(one_to_one)
    svi = SVI(one_to_one, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
    return NeuTraReparam(guide, svi.get_params(svi.init(jax.random.PRNGKey(0)))).reparam(one_to_one)


PLAIN = {
    "a": LocScaleReparam(0.0),
    "b": TransformReparam(),
    "c": HaarReparam(),
    "e": DiscreteCosineReparam(),
    "f": ExplicitReparam(ExpTransform().inv),
}
TWICE = {"d": ProjectedNormalReparam(), "d_normal": LocScaleReparam(0.5)}


def by_function(site):
    return CircularReparam() if site["name"].endswith("theta") else None


# the model, the angles, and the auxiliary sites
ROWS = {
    "an angle that is sampled": (lambda: latent, {"theta"}, {}),
    "unwrapped": (lambda: reparam(circular, config=CONFIG), {"theta"}, {"theta_unwrapped": "theta"}),
    "a torus": (lambda: reparam(torus, config=CONFIG), {"theta"}, {"theta_unwrapped": "theta"}),
    "renamed further out": (
        lambda: scope(reparam(circular, config=CONFIG), prefix="a"),
        {"a/theta"},
        {"a/theta_unwrapped": "a/theta"},
    ),
    "chosen by a function": (
        lambda: reparam(outside_a_scope, config=by_function),
        {"a/theta"},
        {"a/a/theta_unwrapped": "a/theta"},  # made from the whole name, and given the prefix again by NumPyro
    ),
    "within a plate": (lambda: within_a_plate, {"theta"}, {"theta_unwrapped": "theta"}),
    "a direction": (lambda: reparam(direction, config={"d": TWICE["d"]}), set(), {"d_normal": "d"}),
    "a direction, twice": (
        lambda: reparam(direction, config=TWICE),
        set(),
        {"d_normal": "d", "d_normal_decentered": "d"},
    ),
    "more coordinates than needed": (
        lambda: reparam(regression, config={"x": Expanded()}),
        set(),
        {"x_scale": "x", "x_raw": "x"},
    ),
    "one to one": (lambda: reparam(one_to_one, config=PLAIN), set(), {}),
    "one to one, all together": (transported, set(), {}),
    "no reparameterisation": (lambda: one_to_one, set(), {}),
}


@pytest.mark.parametrize("name", ROWS)
def test_angles_and_auxiliary_sites(name):
    model, angles, auxiliary = ROWS[name]
    structure = bk.Target(bk.bind(model(), None), allow_unobserved=True).structure
    assert {site.name for site in structure.sites if site.circular} == angles
    assert {site.name: site.auxiliary_of for site in structure.sites if site.auxiliary_of} == auxiliary
