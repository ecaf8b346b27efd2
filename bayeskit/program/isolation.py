"""Keep programs apart from the handlers around them."""

from __future__ import annotations

from typing import Any

from numpyro import primitives
from numpyro.primitives import Messenger

from bayeskit.errors import ModelError


def surroundings() -> list[Messenger]:
    """The handlers that are active, outermost first, without that of an objective, which is in no program."""
    return [handler for handler in primitives._PYRO_STACK if not isinstance(handler, NoStraySites)]


class Wall(Messenger):
    """Nothing that a program does is seen by handlers around it, but its parameters may come from there."""

    def __init__(self, program: str):
        super().__init__(None)
        self._program = program

    def process_message(self, msg: dict[str, Any]) -> None:  # noqa: D102
        shut_off(msg, self, self._program)


class NoStraySites(Messenger):
    """Refuse sites outside all programs: a choice there has no key, and an observation is in no density."""

    def process_message(self, msg: dict[str, Any]) -> None:  # noqa: D102
        if msg["type"] == "sample" and not surroundings():
            raise ModelError(
                f"numpyro.sample({msg['name']!r}, ...) stands in an objective, and in no program. Write it into a "
                "function of its own, and call choices, log_q = bayeskit.draw(function) or "
                "bayeskit.log_density(function, choices)"
            )


def shut_off(msg: dict[str, Any], handler: Messenger, program: str) -> None:
    """Keep a message from the handlers around `handler`, except a parameter that they may know.

    Raises:
        ModelError: nobody knows the parameter: its first value would be used in silence, and have no gradient.
    """
    msg["stop"] = msg["type"] != "param" or msg["value"] is not None
    if not msg["stop"] and surroundings()[0] is handler:
        raise ModelError(
            f"parameter {msg['name']!r} of {program!r} has no value here; pass parameters as arguments, put "
            "numpyro.handlers.substitute(program, data=parameters) around the program, or fit it as the guide of "
            "bayeskit.VI"
        )
