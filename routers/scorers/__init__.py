"""The scorers: how hidden states become logits or probabilities, one a file.

Importing the package imports each of its modules, which registers the routers that they define. A new one is a new
file.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
