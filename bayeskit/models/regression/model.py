"""`formula`: a regression in one line, and the NumPyro function that it stands for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from numpyro.distributions import Distribution

from bayeskit._spelling import did_you_mean
from bayeskit._typing import Table
from bayeskit.errors import DataError, ModelError
from bayeskit.models.regression.built import Built, executed, with_levels
from bayeskit.models.regression.design import design, groups_in
from bayeskit.models.regression.families import FAMILIES
from bayeskit.models.regression.priors import priors_of
from bayeskit.models.regression.source import source
from bayeskit.program.tables import Given, as_columns
from bayeskit.storage.tables import Columns

__all__ = ["Formula", "formula"]


def formula(
    formula: str,
    data: Table | Mapping[str, object] | str | os.PathLike[str] | None = None,
    *,
    family: str = "normal",
    link: str | None = None,
    priors: Mapping[str, Distribution] | None = None,
    noncentered: bool = True,
) -> Formula:
    r"""A regression as a formula, :math:`g(E[y_i]) = \alpha + x_i^\top \beta + \sum_j z_{ij} u_{g_j(i)}`.

    The language is that of formulae, which bambi uses: ``y ~ x * z``, ``(1 + x | site)``, ``bs(x, df=4)``,
    ``offset(log(area))``, ``p(successes, trials)``, ``0 +`` for no intercept. Names in the result are bambi's:
    ``Intercept``, ``x``, ``1|site``, ``1|site_sigma``, ``sigma``, ``alpha``. Priors are bambi's too, and scale with the
    table (the page on formulas lists them).

    Args:
        formula: response ~ terms.
        data: the table, as for :func:`bayeskit.columns`; otherwise the one that :func:`bayeskit.infer` is given.
        family: ``"normal"``, ``"student"``, ``"bernoulli"``, ``"binomial"``, ``"poisson"``, ``"negative_binomial"``,
            ``"zero_inflated_poisson"``, ``"zero_inflated_negative_binomial"``, or ``"ordinal"`` (cumulative logit).
        link: ``"identity"``, ``"log"``, ``"inverse"``, ``"logit"``, ``"probit"``, ``"cloglog"``.
        priors: distributions by name, instead of the defaults. That of ``"Intercept"`` is the intercept at the means of
            all columns, where there are any; that of ``"1|site"`` is the standard deviation of the sites.
        noncentered: varying effects as a standard deviation times standard normal ones; ``False`` draws them as such.

    Returns:
        A model for :func:`bayeskit.infer`, :func:`bayeskit.predict` and all else, with tables as data. Printed, it is
        the source of a NumPyro function.

    Raises:
        ModelError: the formula cannot be read; an unknown family or link; a prior of something that is no term.
        DataError: an unknown column, missing cells, a response that does not fit the family, a constant term.

    Example:
        >>> import bayeskit as bk
        >>> table = {"count": [2, 3, 6, 9], "year": [0.0, 1.0, 2.0, 3.0]}
        >>> print(bk.formula("count ~ year", table, family="poisson"))
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as dist
        <BLANKLINE>
        <BLANKLINE>
        def model(year, count=None):
            ...
            intercept = numpyro.sample("Intercept_at_means", dist.Normal(0.0, 4.1833))
            b_year = numpyro.sample("year", dist.Normal(0.0, 2.23607))
            mean_year = 1.5
            numpyro.deterministic("Intercept", intercept - mean_year * b_year)
            eta = intercept + (year - mean_year) * b_year
            with numpyro.plate("__obs__", year.shape[0]):
                numpyro.sample("count", dist.Poisson(jnp.exp(eta)), obs=count)
        <BLANKLINE>

    Reference: Capretto et al. (2022), "Bambi: A simple interface for fitting Bayesian linear models in Python", Journal
    of Statistical Software 103(15).
    """
    if not isinstance(formula, str):
        raise ModelError(f"a formula is a string such as 'y ~ x', got {formula!r}")
    if family not in FAMILIES:
        raise ModelError(f"family {family!r} is not known{did_you_mean(family, FAMILIES, 'there are')}")
    links = FAMILIES[family].links
    if link is not None and link not in links:
        raise ModelError(f"link {link!r} is not one of the family {family!r}, which has {', '.join(links)}")
    if priors is not None and not isinstance(priors, Mapping):
        raise ModelError(f"priors: a mapping such as {{'x': dist.Normal(0, 1)}}, got {priors!r}")
    groups_in(formula)
    made = Formula(formula, family, link or links[0], dict(priors or {}), noncentered)
    if data is not None:
        made.for_table(data)
    return made


class Formula:
    """A regression as a formula; made by :func:`formula`.

    Attributes:
        formula: as it was given.
        family: of the response.
        link: from its mean to the linear predictor.
        priors: those given by name.
        noncentered: whether varying effects are.
    """

    __name__ = "model"

    def __init__(self, formula: str, family: str, link: str, priors: Mapping[str, Distribution], noncentered: bool):
        self.__module__ = "formula"  # of the model, by which records call it; the class has its own
        self.formula = formula
        self.family = family
        self.link = link
        self.priors = priors
        self.noncentered = noncentered
        self._tables: dict[str, Built] = {}

    @property
    def source(self) -> str:
        """The source of the NumPyro function, with the priors that its table gives.

        Raises:
            DataError: it has seen no table.
        """
        return self._last.source

    @property
    def function(self) -> Callable[..., object]:
        """The NumPyro function itself, made by executing the source."""
        return self._last.function

    def arguments(
        self, table: Table | Mapping[str, object] | str | os.PathLike[str], *, new_levels: str = "error"
    ) -> dict[str, Any]:
        """The arguments of the function for a table, which is encoded as that of the formula."""
        built = self._last
        return built.arguments(built.encode(table, new_levels))

    def for_table(self, data: object, record: Mapping[str, object] | None = None, new_levels: str = "error") -> Given:
        """The function and its arguments for a table; with the record of a fit, as they were there.

        Raises:
            DataError: the table does not fit the formula; or the fit was one of another formula or table.
        """
        if record is not None and "formula_design" in record:
            digest = str(record["formula_design"])
            if digest not in self._tables:
                raise DataError(
                    f"the fit is one of {record.get('formula')!r} to a table that this formula has not seen; make it "
                    "again with that table, bk.formula(..., data=table)"
                )
            built = self._tables[digest]
            return built.given(built.encode(data, new_levels), {})
        if data is None:
            raise DataError(f"formula {self.formula!r} needs a table: a frame, a path, or bk.columns(...)")
        built = self._build(data)
        digest = built.digest
        built = self._tables.setdefault(digest, built)
        self._tables[digest] = self._tables.pop(digest)  # the last one is that of `source`
        about = {"formula": self.formula, "formula_source": built.source, "formula_design": digest}
        return built.given(built.design.table, about)

    def _build(self, data: object) -> Built:
        family = FAMILIES[self.family]
        found = design(self.formula, with_levels(as_columns(data), groups_in(self.formula)), self.family)
        if reason := family.allowed(found.observed):
            raise DataError(f"family {self.family!r} does not fit the response {found.response!r}: {reason}")
        priors = priors_of(found, family, self.link, self.priors)
        text = source(found, family, self.link, priors, self.noncentered, self.formula)
        return Built(found, family, text, executed(text))

    @property
    def _last(self) -> Built:
        if not self._tables:
            raise DataError(
                f"the source of {self.formula!r} depends on its table, whose levels and spread it has; give it that, "
                "bk.formula(..., data=table), or fit it first"
            )
        return next(reversed(self._tables.values()))

    def __reduce__(self) -> tuple[Callable[..., Formula], tuple[object, ...]]:
        tables = tuple(built.design.table for built in self._tables.values())
        return _of_tables, (self.formula, self.family, self.link, self.priors, self.noncentered, tables)

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        """Run the NumPyro function."""
        return self._last.function(*args, **kwargs)

    def __repr__(self) -> str:
        return self.source if self._tables else f"bk.formula({self.formula!r}, family={self.family!r})"


def _of_tables(
    formula: str,
    family: str,
    link: str,
    priors: Mapping[str, Distribution],
    noncentered: bool,
    tables: tuple[Columns, ...],
) -> Formula:
    """A formula that has seen these tables, such as a pickled one: terms hold modules, so they are read again."""
    made = Formula(formula, family, link, priors, noncentered)
    for table in tables:
        made.for_table(table)
    return made
