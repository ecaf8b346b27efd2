"""What a run leaves behind: the DataTree, its files, the store of a run under way; what was fitted; and data files.

The names stand in ``__init__.pyi`` and are loaded on first use: xarray alone costs a third of a second.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
