"""The ``harness`` command: runs the CLI and turns errors into one sentence and an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line.

    Exit codes: 0 all done, 1 something failed (the rest is done and kept), 2 the request was wrong (nothing started),
    130 interrupted. ``--debug`` anywhere on the line shows the traceback of an error.
    """
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    from harness.cli import app
    from harness.errors import HarnessError

    try:
        app()
    except HarnessError as error:
        if debug:
            raise
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        print(
            f"unexpected {type(error).__name__}: {error} (run again with --debug to see where)",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
