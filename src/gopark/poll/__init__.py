"""Descriptors on the poller (Go's internal/poll): the mutex that a close must win, read and write that park,
deadlines."""
