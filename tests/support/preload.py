"""Import what forked processes of the product use; imported by the server that forks them.

A module that is missing here is imported by each process, as always. Delays that are no settings
are shorter in these processes: a server that tests stop is back within seconds.
"""

import gc
from datetime import timedelta

import pydantic.v1  # by FastAPI, when the first route is added
import pytest  # the main module of a run without xdist
import uvicorn.lifespan.off
import uvloop

import restaurant_system.app.all_in_one
import restaurant_system.app.notification_subscriber
import restaurant_system.cli.welcome
import tests.support.processes
from restaurant_system.messaging import relay, resilient_consumer
from restaurant_system.services.order import reconciliation
from restaurant_system.worker import lifecycle, retries

__all__ = ["pydantic", "pytest", "restaurant_system", "tests", "uvicorn", "uvloop"]

for module in (relay, lifecycle, retries):
    vars(module)["MAX_RETRY_DELAY"] = 1.0
resilient_consumer.MAX_RECONNECT_DELAY = 1.0
reconciliation.RESUBSCRIBE_DELAY = timedelta(seconds=5)

gc.freeze()  # a collection in a forked process would copy the pages of all these modules
