"""Fixtures of the command line, with which a session is compared."""

from tests.cli.conftest import _plain, cli, finished

__all__ = ["_plain", "cli", "finished"]
