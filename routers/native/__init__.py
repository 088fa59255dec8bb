"""Kernels for the CPU, which numba compiles for the processor at hand, and when they may be used.

numba is an extra, `native`: without it everything is computed by torch's operators. Nothing imports it before a kernel
runs. `addresses` and `compiled` import it.
"""

from routers.native.use import (
    give_up,
    has_native_kernels,
    is_plain,
    native_version,
    operators_are_seen,
    use_native_kernels,
)

__all__ = ["give_up", "has_native_kernels", "is_plain", "native_version", "operators_are_seen", "use_native_kernels"]
