"""Exceptions to one line on stderr and an exit code.

===== =====================================================================================================
code  meaning
===== =====================================================================================================
0     done, and the verdict is good
1     ``check``: the verdict is bad; any command: it failed while it ran
2     wrong usage or wrong input: an option, a run file, a model, data, a file that is not a result
3     ``run``: it finished and the result is written, but the verdict is bad
4     ``check``: the run has not ended; nothing is wrong with its draws so far
130   interrupted by Ctrl-C; what was drawn is kept
143   interrupted by SIGTERM, likewise
===== =====================================================================================================
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import NoReturn, ParamSpec

from bayeskit.cli.output import begin, end, record, say
from bayeskit.errors import BayeskitError, Interrupted, SamplingError

FAILED, WRONG_INPUT, BAD_VERDICT, UNFINISHED, INTERRUPTED = 1, 2, 3, 4, 130

P = ParamSpec("P")


class UsageError(BayeskitError, ValueError):
    """The command line or the run file is wrong; the message names the option or the key."""


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a command raises into ``error: ...`` and an exit code.

    It reads the options that every command has: ``--debug`` shows the traceback as well, ``--quiet`` and ``--json`` say
    who listens.
    """

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        import typer

        begin(quiet=bool(kwargs.get("quiet")), as_json=bool(kwargs.get("as_json")))
        try:
            command(*args, **kwargs)
        except typer.Exit:  # the command has done its work, and says how it went
            end()
            raise
        except (Exception, KeyboardInterrupt) as error:
            _exit(error, debug=bool(kwargs.get("debug")))
        end()

    return wrapper


def _exit(error: BaseException, debug: bool) -> NoReturn:
    import typer

    if isinstance(error, typer.Abort) or type(error).__module__.startswith(("click", "typer")):
        raise error
    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | Interrupted):
        _tell(f"interrupted: {error}" if str(error) else "interrupted")
        raise typer.Exit(_after_signal(error)) from None
    if isinstance(error, BayeskitError):
        _tell(f"error: {error}")
        raise typer.Exit(FAILED if isinstance(error, SamplingError) else WRONG_INPUT) from None
    _tell(f"error: {type(error).__name__}: {error}" + ("" if debug else " (--debug shows where)"))
    raise typer.Exit(FAILED) from None


def _tell(message: str) -> None:
    """One line on stderr; with ``--json`` the object on stdout has it too, beside what was known before."""
    say(message)
    record("error", lambda: message.removeprefix("error: "))
    end()


def _after_signal(error: KeyboardInterrupt | Interrupted) -> int:
    """As shells number it: 128 and the number of the signal."""
    return 128 + error.signal if isinstance(error, Interrupted) else INTERRUPTED
