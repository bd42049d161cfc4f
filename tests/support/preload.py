"""Import what forked processes of the product use; imported by the server that forks them.

A module that is missing here is imported by each process, as always.
"""

import gc

import pydantic.v1  # by FastAPI, when the first route is added
import pytest  # the main module of a run without xdist
import uvicorn.lifespan.off
import uvloop

import restaurant_system.app.all_in_one
import restaurant_system.app.notification_subscriber
import restaurant_system.cli.welcome
import tests.support.processes

__all__ = ["pydantic", "pytest", "restaurant_system", "tests", "uvicorn", "uvloop"]

gc.freeze()  # a collection in a forked process would copy the pages of all these modules
