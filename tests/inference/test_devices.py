"""Chains and rows over several devices: of one process, and of two processes on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bayeskit as bk
from bayeskit.errors import DataError

SCRIPT = Path(__file__).with_name("over_devices.py")


def start(processes, number, address, *what):
    command = [sys.executable, str(SCRIPT), str(processes), str(number), address, *what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def result(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def one_and_two(*what):
    """What one process with two devices prints, and two processes with one each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    one, *two = [start(*these, address, *what) for these in ((1, 0), (2, 0), (2, 1))]
    return result(one), [result(process) for process in two]


def test_rows_on_two_devices_have_the_same_density():
    one = result(start(1, 0, "none"))
    spread, alone = one["densities"]
    assert one["devices"] == 2
    assert one["collective"]
    assert abs(spread - alone) < 1e-10
    assert "multiple" in one["refused"]
    assert one["observed"]
    assert one["how"] == ["sharded", "vectorized"]
    by_chain, by_row = (np.asarray(draws) for draws in one["draws"])
    np.testing.assert_allclose(by_row[:20], by_chain[:20], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("what", [(), ("ensemble",)], ids=["chains and rows", "ensemble"])
def test_two_processes_draw_what_one_draws_with_two_devices(what):
    one, two = one_and_two(*what)
    assert one["devices"] == 2
    for other in two:
        assert other == one


@pytest.mark.slow
def test_a_stored_run_of_two_processes_is_resumed_by_both(tmp_path):
    one, two = one_and_two("store", str(tmp_path))
    assert one["draws"][0] == one["draws"][1]
    for other in two:
        assert other == one


def test_what_has_rows():
    data = bk.sharded({"x": [[1, 2], [3, 4]], "y": [1.0, 2.0], "scale": [3.0], "size": 2, "label": None})
    assert [type(value).__name__ for value in data.values()] == ["ArrayImpl", "ArrayImpl", "list", "int", "NoneType"]
    assert bk.sharded({"x": [1.0, 2.0], "y": [1.0]}, names=["y"])["x"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("data", "names", "message"),
    [
        ({"n": 3}, None, "there is no array in the data whose rows could be spread"),
        ({"x": [1.0, 2.0], "y": [1.0]}, ["x", "y"], r"different numbers of rows: {'x': 2, 'y': 1}"),
        ({"x": [1.0]}, ["z"], "names: 'z' is not in the data; which have x"),
        ({"x": [1.0]}, "x", "names must be a list of argument names, got 'x'"),
        ({"x": ["a", "b"]}, None, "data 'x' holds strings"),
        ([1.0], None, "data must map argument names to values, got list"),
    ],
)
def test_rows_that_cannot_be_spread(data, names, message):
    with pytest.raises(DataError, match=message):
        bk.sharded(data, names=names)
