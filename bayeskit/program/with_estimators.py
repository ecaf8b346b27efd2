"""Estimators chosen outside a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpyro.primitives import Messenger

from bayeskit._spelling import did_you_mean
from bayeskit.errors import ModelError
from bayeskit.program.execution import Estimator
from bayeskit.program.runnable import Runnable, WeightedProgram, name_of_program


def with_estimators(program: Runnable, by_site: Mapping[str, Estimator]) -> Callable[[], object]:
    """The same program with estimators for some of its sites.

    Args:
        program: a program.
        by_site: an estimator by site name; it replaces one named at the site.

    Raises:
        ModelError: when run: the program has no such site.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> coin = lambda: numpyro.sample("b", dist.Bernoulli(0.3))
        >>> f = lambda: bk.draw(bk.with_estimators(coin, {"b": bk.estimators.Enumeration()}))[0]["b"]
        >>> float(bk.expectation(f)(0))
        0.3...
    """
    if isinstance(program, WeightedProgram):
        raise ModelError(f"choose the estimators of the programs inside {program.__name__!r}, before it is made")

    def run() -> object:
        naming = _Naming(by_site)
        with naming:
            result = program()
        for name in by_site:
            if name not in naming.seen:
                known = sorted(naming.all)
                raise ModelError(
                    f"estimators name {name!r}, a site that {name_of_program(program)!r} lacks"
                    f"{did_you_mean(name, known, 'it has')}"
                )
        return result

    run.__name__ = name_of_program(program)
    return run


class _Naming(Messenger):
    def __init__(self, by_site: Mapping[str, Estimator]):
        super().__init__(None)
        self._by_site = by_site
        self.seen: set[str] = set()
        self.all: set[str] = set()

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample":
            self.all.add(msg["name"])
            if msg["name"] in self._by_site:
                self.seen.add(msg["name"])
                msg["infer"] = {**msg["infer"], "estimator": self._by_site[msg["name"]]}
