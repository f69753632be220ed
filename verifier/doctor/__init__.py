"""`shepherd doctor`: is this machine fit for the work, and if not, what to do.

Each check gives one or more lines: what was looked at, what was found, and for a failure its fix. A note is
something to know that stops nothing.
"""
