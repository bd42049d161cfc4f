"""The composition root: builds what a command needs, runs it, closes it.

A module for each kind of command; a command imports its own, so that a cook's process need not know
HTTP. Everything that a service leans on is made here and handed in; nothing below makes its own.
"""
