"""The user of this machine under whose name a command is recorded."""

import os
import pwd

import pytest

from restaurant_system.app.actors import COMMAND_LINE, actor_of_command
from restaurant_system.models.audit import Actor


def test_command_is_recorded_under_the_user_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "mallory")

    assert actor_of_command() == Actor(pwd.getpwuid(os.getuid()).pw_name, COMMAND_LINE)


def test_user_without_a_name_is_recorded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)

    assert actor_of_command() == Actor("uid 4000000", COMMAND_LINE)
