"""Find out which user of this machine runs a command, so that what it does can be recorded."""

import getpass
import os
import sys

from restaurant_system.models.audit import Actor

if sys.platform != "win32":
    import pwd

COMMAND_LINE = "command line"  # in place of a role


def actor_of_command() -> Actor:
    """Return the user of this machine with whose rights this process runs.

    Not the one in the variables USER and LOGNAME, to which anybody can give another value.
    """
    if sys.platform == "win32":
        return Actor(getpass.getuser(), COMMAND_LINE)
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without a name, in a container
        name = f"uid {os.getuid()}"
    return Actor(name, COMMAND_LINE)
