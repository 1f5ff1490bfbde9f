"""The Ray engine. Ray is imported in this package only.

``engine`` implements the engine protocol; ``sweep`` is one call of its ``run``, on the driver; ``actor`` is the worker;
``cluster`` finds or starts a cluster; ``data`` makes pools in parts.
"""

from harness.engines.ray.engine import RayEngine

__all__ = ["RayEngine"]
