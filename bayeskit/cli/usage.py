"""Wrong usage in one line, as other errors are told, with what may have been meant."""

from __future__ import annotations

import re
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import FAILED, INTERRUPTED, WRONG_INPUT
from bayeskit.cli.output import say

# Click's own class, which newer releases of typer carry inside
CLICK_ERROR: type[Exception] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


class Commands(TyperGroup):
    """The commands; what typer would tell of wrong usage in a panel is told in a line."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command; leaves the process unless ``standalone_mode`` is false."""
        leaves = extra.pop("standalone_mode", True)
        extra["standalone_mode"] = False
        if not leaves:
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra)
        except CLICK_ERROR as error:
            _explain(error)
        except typer.Abort:
            say("interrupted")
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Any) -> NoReturn:
    context: Any = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help())
        sys.exit(WRONG_INPUT)
    say(f"error: {_message(error, context)}")
    sys.exit(WRONG_INPUT if getattr(error, "exit_code", FAILED) == WRONG_INPUT else FAILED)


def _message(error: Any, context: Any) -> str:
    path = context.command_path if context is not None else "bayeskit"
    help_ = f"; `{path} --help` lists what there is"
    if option := getattr(error, "option_name", "") if type(error).__name__ == "NoSuchOption" else "":
        names = [name for item in context.command.params for name in (*item.opts, *item.secondary_opts)]
        close = did_you_mean(option, [name for name in names if name.startswith("--")])
        return f"{path} has no option {option}{close or help_}"
    text = str(error.format_message())
    if found := re.match(r"No such command '(.*?)'", text):
        return f"{path} has no command {found[1]!r}{did_you_mean(found[1], context.command.commands) or help_}"
    if found := re.match(r"Invalid value for '?(.*?)'?: (.*)", text, re.DOTALL):
        return f"{found[1]}: {found[2][:1].lower()}{found[2][1:].rstrip('.')}"
    return f"{text[:1].lower()}{text[1:].rstrip('.')}{help_}"
