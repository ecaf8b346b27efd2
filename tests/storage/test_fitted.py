"""What was fitted, in files: what they hold, what is refused, and what damage does. Every class has its row elsewhere,
in tests/conformance/test_kept.py."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import tinygp
import xarray as xr

import bayeskit as bk
from bayeskit import _keepable
from bayeskit.distributions import BurrXII
from bayeskit.errors import StorageError
from bayeskit.models import nngp
from bayeskit.models.schrodinger_bridge import Bridge
from bayeskit.numerics.gaussian_mixture_covariance import Diagonal
from bayeskit.storage import keepable
from bayeskit.storage.fitted import as_tree, made_again

KERNEL = tinygp.kernels.ExpSquared(0.5)


@keepable("mine.Box")
@dataclasses.dataclass(frozen=True)
class Box:
    content: Any


@keepable("mine.softsign")
def softsign(x):
    return x / (1 + jnp.sqrt(1 + x**2))


def own(x):
    return softsign(x) + 1


class Own:
    pass


def bridge():
    return Bridge(0.5, jnp.zeros(2), jnp.array([[-1.0], [1.0]]), Diagonal(jnp.full((2, 1), 0.4)))


def through_a_file(content, path):
    return bk.load(bk.save(Box(content), path)).content


@pytest.fixture(params=["kept.zarr", "kept.nc"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_values_keep_their_types_and_bits(path):
    strange = np.frombuffer(np.array([0x7FF8000000000ABC, 1], np.uint64).tobytes(), np.float64)  # a NaN of its own
    arrays = {
        "strange": strange,
        "zero": np.array([0.0, -0.0]),
        "infinite": np.array([np.inf, -np.inf, np.nan], np.float32),
        "integers": np.arange(6, dtype=np.int8).reshape(2, 3),
        "large": np.array([2**64 - 1], np.uint64),
        "flags": np.array([True, False]),
        "none": np.zeros((2, 0), np.int16),
        "number": np.array(strange[0]),
        "words": np.array([["a", "é"], ["", "long"]]),
        "of a dictionary/of [one]": np.ones(2),
    }
    found = through_a_file(arrays, path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert type(found[name]) is np.ndarray
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    plain = (None, True, 1, 2**70, 1.0, -0.0, float("inf"), "é", [1, (2.5,), []], {"a": {}}, ())
    assert repr(through_a_file(plain, path)) == repr(plain)
    scalars = [np.float32(0.1), np.int64(3), np.bool_(True)]
    assert [(type(one), one) for one in through_a_file(scalars, path)] == [(type(one), one) for one in scalars]


def test_the_order_in_memory_is_kept(path):
    columns, rows = through_a_file([np.ones((3, 2)).T, np.ones((2, 3))], path)
    assert columns.flags.f_contiguous
    assert not columns.flags.c_contiguous
    assert rows.flags.c_contiguous


def test_arrays_of_jax_keep_their_dtype_and_weak_type(path):
    with jax.enable_x64(False):
        single = [jnp.asarray(0.1), jnp.asarray(3), jnp.float32(0.1)]
    double = [jnp.asarray(0.1), jnp.full((2, 2), 0.1), jnp.asarray(3), jnp.float64(0.1), jnp.arange(3)]
    for array, found in zip(single + double, through_a_file(single + double, path), strict=True):
        assert isinstance(found, jax.Array)
        assert (found.dtype, found.weak_type, found.shape) == (array.dtype, array.weak_type, array.shape)
        assert np.asarray(found).tobytes() == np.asarray(array).tobytes()


def test_what_is_held_twice_is_written_once(tmp_path):
    numbers = np.arange(3.0)
    tree = as_tree(Box([numbers, numbers.copy(), numbers.astype(np.float32)]), tmp_path)
    assert list(tree["arrays"].data_vars) == ["content.0", "content.2"]


LAWS = [
    dist.InverseGamma(2.0, 3.0),
    dist.HalfCauchy(1.5),
    dist.HalfNormal(1.5),
    dist.LogNormal(0.5, 1.5),
    dist.Gamma(jnp.asarray(2.0), np.float64(3.0)),
    dist.Exponential(2.0),
    dist.Uniform(0.5, 2.0),
    dist.Weibull(1.5, 2.0),
    dist.Pareto(0.5, 2.0),
    dist.LogUniform(0.5, 2.0),
    dist.Chi2(3.0),
    dist.TruncatedNormal(0.0, 1.0, low=0.0),
    dist.TransformedDistribution(dist.Normal(0.0, 1.0), [dist.transforms.ExpTransform()]),
    BurrXII(2.0, 3.0),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_laws_of_numpyro(law, tmp_path):
    again = made_again(as_tree(law, tmp_path), tmp_path)
    assert type(again) is type(law)
    assert again.support == law.support
    value = jnp.asarray(1.25)
    assert np.asarray(again.log_prob(value)).tobytes() == np.asarray(law.log_prob(value)).tobytes()
    assert again.sample(jax.random.key(0)) == law.sample(jax.random.key(0))


NAME_IT = ", or name yours with @bayeskit.storage.keepable"
CLASS = f"a class that no file can hold; take a class of bayeskit, NumPyro or tinygp{NAME_IT}"
FUNCTION = f"of which a file can hold no more than a name; take a function of jax.numpy or jax.nn{NAME_IT}"
REFUSED = {
    "activation": (
        lambda: nngp.fully_connected(1, activation=nngp.Activation(own, 64, 1.0)),
        f"layers[1].function is the function {own.__module__}.own, {FUNCTION}",
    ),
    "kernel": (
        lambda: nngp.ScaleMixture(own, 1.0),
        f"kernel is the function {own.__module__}.own, {FUNCTION}",
    ),
    "custom kernel": (
        lambda: nngp.ScaleMixture(KERNEL + tinygp.kernels.Custom(own), 1.0),
        f"kernel.kernel2.function is the function {own.__module__}.own, {FUNCTION}",
    ),
    "layer": (
        lambda: nngp.serial(nngp.Dense(), type("Mine", (type(nngp.relu),), {"__module__": "mine"})()),
        f"layers[1] is a mine.Mine, {CLASS}",
    ),
    "prior": (
        lambda: nngp.ScaleMixture(KERNEL, type("Mine", (dist.HalfCauchy,), {"__module__": "mine"})(1.0)),
        f"_scale.prior is a mine.Mine, {CLASS}",
    ),
    "object": (lambda: Box({"a": [Own()]}), f"content['a'][0] is a {Own.__module__}.Own, {CLASS}"),
    "key": (
        lambda: Box(jax.random.key(0)),
        "content is an array of dtype key<fry>; a file can hold numbers, booleans and strings",
    ),
    "half precision of another kind": (
        lambda: Box(jnp.ones(2, jnp.bfloat16)),
        "content is an array of dtype bfloat16; a file can hold numbers, booleans and strings",
    ),
    "traced": (
        lambda: Box(jax.make_jaxpr(lambda x: REFUSED.setdefault("tracer", [x])[0])(1.0) and REFUSED.pop("tracer")[0]),
        "content is a traced value; save outside of jit, grad and vmap",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_before_anything_is(name, path):
    thing, text = REFUSED[name]
    with pytest.raises(StorageError, match=f"^{re.escape(f'cannot write {path}: {text}')}$"):
        bk.save(thing(), path)
    assert list(path.parent.iterdir()) == []


def test_an_older_file_stays_when_the_new_one_is_refused(path):
    bk.save(bridge(), path)
    with pytest.raises(StorageError, match="content is a"):
        bk.save(Box(Own()), path)
    assert type(bk.load(path)) is Bridge
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_neither_a_result_nor_fitted(path):
    text = (
        f"cannot write {path}: dict is neither a result (a DataTree) nor anything that was fitted; a class of your own "
        "can be kept when it is named with @bayeskit.storage.keepable"
    )
    with pytest.raises(StorageError, match=f"^{re.escape(text)}$"):
        bk.save({"a": 1}, path)


def refused(path, text):
    with pytest.raises(StorageError, match=f"^{re.escape(f'{path} {text}')}$"):
        bk.load(path)


def rewritten(path, **attrs):
    """The same file with other attributes, as a file of another version would have."""
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        tree = opened.load()
    tree.attrs |= attrs
    path.unlink()
    tree.to_netcdf(path, engine="h5netcdf")


def test_other_formats_and_other_content(tmp_path):
    path = bk.save(bridge(), tmp_path / "kept.nc")
    rewritten(path, bayeskit_kept=2)
    refused(path, "holds what was fitted in format 2; this version of bayeskit reads format 1")
    rewritten(path, bayeskit_kept=1, checksum="0")
    refused(path, "is damaged: its content is not what was saved")


def test_incomplete(tmp_path):
    path = bk.save(bridge(), tmp_path / "kept.nc")
    tree = as_tree(bridge(), path)
    bk.save(xr.DataTree.from_dict({"/": tree.to_dataset(), "/arrays": tree["arrays"].to_dataset()}), path)
    refused(path, "is incomplete: structure/json is missing")
    bk.save(xr.DataTree.from_dict({"/": tree.to_dataset(), "/structure": tree["structure"].to_dataset()}), path)
    refused(path, "is damaged: its content is not what was saved")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated(tmp_path, share):
    path = bk.save(bridge(), tmp_path / "kept.nc")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StorageError, match=re.escape(str(path))):
        bk.load(path)


def test_a_changed_byte_is_noticed_or_harmless(tmp_path):
    path = bk.save(bridge(), tmp_path / "kept.nc")
    content, expected = path.read_bytes(), as_tree(bridge(), path).attrs["checksum"]
    at = content.index(np.asarray(bridge().r).tobytes())
    for place in [at, content.index(b'"kind"'), *range(0, len(content), 1999)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            again = bk.load(path)
        except StorageError as error:
            found = str(path) in str(error)
        else:
            found = place != at and as_tree(again, path).attrs["checksum"] == expected
        assert found, place


def test_a_chunk_of_zarr_is_missing(tmp_path):
    path = bk.save(bridge(), tmp_path / "kept.zarr")
    (path / "arrays" / "r" / "0.0").unlink()
    refused(path, "is incomplete: arrays/r/0.0 is missing")


@pytest.fixture
def written_elsewhere(path, monkeypatch):
    """Files as another program has written them, where names are others than here."""

    def write(thing, **names):
        with monkeypatch.context() as patched:
            for kind, thing_there in names.items():
                patched.setitem(_keepable._KINDS, thing_there, f"mine.{kind}")
            return bk.save(thing, path)

    return write


SINCE = f"it was written by bayeskit {bk.__version__}"
UNKNOWN = f"which is not known here; if it is yours, import it first; {SINCE}"


def test_unknown_names(written_elsewhere):
    path = written_elsewhere(Box(Box(1)), Elsewhere=Box)
    refused(path, f"holds a 'mine.Elsewhere', {UNKNOWN}")
    path = written_elsewhere(Box(own), elsewhere=own)
    refused(
        path, f"holds the function 'mine.elsewhere', which is not known here; if it is yours, import it first; {SINCE}"
    )


def test_other_fields(path, monkeypatch):
    bk.save(Box(1), path)

    @dataclasses.dataclass
    class Bigger:
        content: int
        more: int

    monkeypatch.setitem(_keepable._NAMED, "mine.Box", _keepable._Named(Bigger, False))
    refused(path, f"holds a 'mine.Box' with other fields than it has here (more); {SINCE}")


def test_functions_by_name(path, monkeypatch):
    functions = [jnp.tanh, jax.nn.softplus, jax.lax.erf, jax.scipy.special.i0e, softsign]
    assert through_a_file(functions, path) == functions
    monkeypatch.setitem(_keepable._NAMED, "mine.softsign", _keepable._Named(own, False))
    refused(
        path,
        "holds the function 'mine.softsign' with another source than it has now; load it with the code that it was "
        "saved with, or fit again",
    )


def test_single_precision(path):
    bk.save(bridge(), path)
    with jax.enable_x64(False):
        refused(
            path,
            "holds epsilon in float64, and JAX is set to numbers of 32 bits; call "
            "jax.config.update('jax_enable_x64', True) at the start of the program",
        )
        single = bk.save(Bridge(0.5, jnp.zeros(2), jnp.ones((2, 1)), Diagonal(jnp.ones((2, 1)))), path)
    assert {leaf.dtype for leaf in jax.tree.leaves(bk.load(single))} == {np.dtype(np.float32)}


CLASH = f"{Box.__module__}.Box has the name 'mine.Box'; choose another for {Own.__module__}.Own"


def test_names_are_given_once_and_well():
    assert keepable("mine.Box")(Box) is Box  # again, as when a module is loaded again
    with pytest.raises(ValueError, match=f"^{re.escape(CLASH)}$"):
        keepable("mine.Box")(Own)
    for name in ("Box", "mine", "Mine.Box", "mine..Box", "mine.Box!", "mine._Box"):
        text = f"a name in files is written '<home>.<name>', such as 'mine.swish'; got {name!r}"
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            keepable(name)(Box)


STRUCTURE = (
    '{"kind": "nngp.Network", "fields": {"layers": {"tuple": ['
    '{"kind": "nngp.Dense", "fields": {"weight_std": {"bytes": "000000000000f83f", "on": "jax", "dtype": "<f8"}, '
    '"bias_std": {"bytes": "0000803e", "on": "jax", "dtype": "<f4", "weak": true}}}, '
    '{"kind": "nngp.relu", "fields": {}}, '
    '{"kind": "nngp.Activation", "fields": {"function": {"function": "jax.numpy.sin"}, "num_nodes": 64, '
    '"max_variance": 1.5}}]}}}'
)
CHECKSUM = "07296d71c419c71e5e66f62f5327ce348444d361fd61e2b7e4320ff483c4953c"


def test_a_file_of_the_first_format(tmp_path):
    """As it was first written: files outlive versions."""
    attrs = {"bayeskit_kept": 1, "checksum": CHECKSUM}
    structure = xr.Dataset({"json": ("byte", np.frombuffer(STRUCTURE.encode(), np.uint8))})
    path = bk.save(xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "/structure": structure}), tmp_path / "old.nc")
    network = bk.load(path)
    dense, relu, activation = network.layers
    assert type(network) is nngp.Network
    assert type(relu) is type(nngp.relu)
    assert (float(dense.weight_std), dense.weight_std.dtype, dense.weight_std.weak_type) == (1.5, np.float64, False)
    assert (float(dense.bias_std), dense.bias_std.dtype, dense.bias_std.weak_type) == (0.25, np.float32, True)
    assert (activation.function, activation.num_nodes, activation.max_variance) == (jnp.sin, 64, 1.5)
    assert as_tree(network, Path("x.nc")).attrs["checksum"] == CHECKSUM
