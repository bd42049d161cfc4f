"""The composition root: builds what a command needs, runs it, closes it.

There is a module for each command, which imports only its own, so that a kitchen worker does not
load the HTTP libraries. All dependencies are created here and passed to the services.
"""
