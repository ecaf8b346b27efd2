"""What the draws are worth: the verdict, the summary, leave-one-out, and the report.

The names stand in ``__init__.pyi`` and are loaded on first use: `check` does not need the plots of the report,
which cost seconds.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
