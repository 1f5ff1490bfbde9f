"""The ``harness`` command: runs the CLI and turns errors into one sentence and an exit code."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path and not __file__.startswith(f"{sys.path[0]}/"):
    del sys.path[0]  # the current folder: what lies beside somebody's data is not imported


def main() -> None:
    """Run the command line.

    Exit codes: 0 all done, 1 something failed (the rest is done and kept), 2 the request was wrong (nothing started),
    130 interrupted. ``--debug`` anywhere on the line shows the traceback of an error.
    """
    _settle()
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    import traceback

    import typer

    from harness.cli import app, usage
    from harness.errors import HarnessError, storage_problem
    from harness.escaping import redacted, visible

    def tell(text: str) -> None:
        """Show an error, which may quote data, or an address with a password."""
        whole = f"{traceback.format_exc()}" if debug else text
        print(visible(redacted(whole)), file=sys.stderr)

    try:
        ended = app(standalone_mode=False)
    except usage.UsageError as error:
        if usage.no_arguments(error):
            print(error.ctx.get_help())  # type: ignore[attr-defined]
            sys.exit(0)
        tell(usage.sentence(error, sys.argv[1:]))
        sys.exit(2)
    except HarnessError as error:
        tell(str(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except SystemExit:
        raise
    except BaseException as error:  # GeneratorExit and their like end no command in silence
        text = f"unexpected {type(error).__name__}: {error} (run again with --debug to see where)"
        if reason := storage_problem(error):
            text = f"{reason}. What was finished before is kept; run the same command again"
        tell(text)
        sys.exit(1)
    sys.exit(ended if isinstance(ended, int) else 0)


def _settle() -> None:
    """Make the surroundings such that files are read as UTF-8 and every text can be printed, or say that it cannot be.

    Where the language of the environment is not UTF-8 (``LC_ALL=C`` with ``PYTHONUTF8=0``), Python begins again.
    """
    import codecs
    import io
    import locale
    import os
    from pathlib import Path

    try:
        Path.cwd()
    except FileNotFoundError:
        print("the current folder is not there any more: go to one that is (cd), and run again", file=sys.stderr)
        sys.exit(2)
    if not sys.flags.utf8_mode and codecs.lookup(locale.getencoding()).name != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows fewer letters, half characters


if __name__ == "__main__":
    main()
