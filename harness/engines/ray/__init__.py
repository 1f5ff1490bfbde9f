"""The Ray engine. Ray is imported in this package only.

``engine`` is what every engine is; ``sweep`` one call of it, on the driver; ``actor`` the worker; ``cluster`` finds or
starts one; ``data`` makes pools in parts.
"""

from harness.engines.ray.engine import RayEngine

__all__ = ["RayEngine"]
