"""bayeskit: write a model once, as a NumPyro function; get a posterior with an honest verdict.

The public names stand in ``__init__.pyi``, where type checkers and this module read them. They are loaded on first use,
so that ``import bayeskit`` costs little more than importing nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
