"""A constant beside a model that has changed is another program."""

from __future__ import annotations

import functools
from types import ModuleType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import bayeskit as bk
from bayeskit.errors import DataError, Interrupted

Y = np.array([4.8, 5.1, 5.3])
SCALE: Any = 0.01
METHOD = bk.HMC(num_chains=1, num_warmup=50, num_draws=50)


def helper():
    return SCALE


def by_global(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, SCALE))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def by_helper(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, helper()))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def around(box):
    def by_closure(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, box["scale"]))
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    return by_closure


BOX: dict[str, Any] = {"scale": 0.01}
MODELS = {
    "global": by_global,
    "helper": by_helper,
    "closure": around(BOX),
    "partial": functools.partial(by_global),
    "handler": handlers.reparam(by_global, config={}),
}


def density(model):
    target = bk.Target(bk.bind(model, {"y": Y}))
    return float(_density(target))


@jax.jit
def _density(target):
    return target.log_density({"mean": jnp.array(0.1)})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("other", [100.0, np.array(100.0), jnp.array(100.0)], ids=["float", "NumPy", "JAX"])
def test_a_changed_constant_is_seen(name, other, monkeypatch):
    before = density(MODELS[name])
    monkeypatch.setitem(globals(), "SCALE", other)
    monkeypatch.setitem(BOX, "scale", other)
    after = density(MODELS[name])
    assert after - before == pytest.approx(np.log(0.01 / 100) - (0.1 / 100) ** 2 / 2 + (0.1 / 0.01) ** 2 / 2, rel=1e-9)


def test_a_changed_helper_is_seen(monkeypatch):
    before = density(by_helper)
    monkeypatch.setitem(globals(), "helper", lambda: 100.0)
    assert density(by_helper) != before


class Settings:
    __slots__ = ("scale",)


class Model:
    """Its scale stands in an attribute, behind a property and a method, and in a slot of another object."""

    def __init__(self):
        self.inner, self._scale, self.me = Settings(), 0.01, self
        self.inner.scale = 0.01

    @property
    def scale(self):
        return self._scale

    def indirect(self):
        return self.scale

    def by_attribute(self, y):
        normal(self._scale, y)

    def by_property(self, y):
        normal(self.me.scale, y)

    def by_method(self, y):
        normal(self.indirect(), y)

    def by_slot(self, y):
        normal(self.inner.scale, y)

    def __call__(self, y):
        normal(self._scale, y)


def normal(scale, y):
    mean = numpyro.sample("mean", dist.Normal(0.0, scale))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


OBJECT, NAMESPACE, MODULE = Model(), SimpleNamespace(scale=0.01), ModuleType("constants")
ARRAY, PRIOR = np.array([0.01]), dist.Normal(0.0, 0.01)
MODULE.scale = 0.01


def by_prior(y):
    numpyro.sample("y", dist.Normal(numpyro.sample("mean", PRIOR), 1.0), obs=y)


OBJECTS = {
    "attribute": OBJECT.by_attribute,
    "property": OBJECT.by_property,
    "method": OBJECT.by_method,
    "slot": OBJECT.by_slot,
    "call": OBJECT,
    "handler": handlers.reparam(OBJECT.by_attribute, config={}),
    "namespace": lambda y: normal(NAMESPACE.scale, y),
    "module": lambda y: normal(MODULE.scale, y),
    "array": lambda y: normal(ARRAY[0], y),
    "partial": functools.partial(lambda scale, y: normal(scale[0], y), ARRAY),
    "distribution": by_prior,
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_has_changed_inside_an_object_is_seen(name, monkeypatch):
    before = density(OBJECTS[name])
    with monkeypatch.context() as changed:
        changed.setattr(NAMESPACE, "scale", 100.0)
        changed.setattr(MODULE, "scale", 100.0)
        changed.setattr(OBJECT, "_scale", 100.0)
        changed.setattr(OBJECT.inner, "scale", 100.0)
        changed.setitem(globals(), "PRIOR", dist.Normal(0.0, 100.0))
        ARRAY[0] = 100.0
        after = density(OBJECTS[name])
    ARRAY[0] = 0.01
    assert after - before == pytest.approx(np.log(0.01 / 100) - (0.1 / 100) ** 2 / 2 + (0.1 / 0.01) ** 2 / 2, rel=1e-9)
    assert density(OBJECTS[name]) == before


def test_a_trace_is_not_kept_from_inside_of_handlers():
    """What they do to the density ends with them."""
    target, point = bk.Target(bk.bind(functools.partial(normal, 1.0), {"y": Y})), {"mean": jnp.array(0.1)}
    plain = float(target.log_density(point))
    with handlers.scale(scale=2.0):
        inside = float(jax.jit(lambda point: target.log_density(point))(point))
    after = float(jax.jit(lambda point: target.log_density(point))(point))
    assert inside == pytest.approx(2 * plain, rel=1e-12)
    assert after == pytest.approx(plain, rel=1e-12)


def test_the_same_surroundings_are_the_same_program():
    for model in (by_helper, by_prior, OBJECT.by_method):
        first, second = bk.bind(model, {"y": Y}), bk.bind(model, {"y": Y})
        assert jax.tree.structure(first) == jax.tree.structure(second)
    assert hash(jax.tree.structure(first)) == hash(jax.tree.structure(second))


def test_a_run_is_not_resumed_with_another_constant(tmp_path, monkeypatch):
    from bayeskit.inference.driver import Run

    select, chunks = Run._select, []

    def stop(self, draws):
        chunks.append(1)
        if len(chunks) == 15:
            raise KeyboardInterrupt
        return select(self, draws)

    monkeypatch.setattr(Run, "_select", stop)
    with pytest.raises(Interrupted):
        bk.infer(by_global, {"y": Y}, METHOD, key=0, store=tmp_path / "run", progress=False)
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    with pytest.raises(DataError, match=r"another model.*around it, .*SCALE' was 0\.01 and is 1\.0"):
        bk.resume(by_global, {"y": Y}, tmp_path / "run", progress=False)


def test_tracers_around_a_function_are_left_alone():
    def objective(loc):
        guide = bk.bind(lambda: numpyro.sample("z", dist.Normal(loc, 1.0)))
        return bk.log_density(guide, {"z": 0.5})

    assert float(jax.grad(objective)(0.0)) == 0.5
