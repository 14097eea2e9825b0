"""Which of CPython's own tests have to pass under ``gopark run``, and what of them need not.

TIER_1 has no exceptions.  TIER_2 has those of ALLOWED, each with its reason, at most twelve.
"""

TIER_1 = """
    select poll epoll selectors queue timeout socketserver context contextlib httplib httpservers urllib2_localnet ftplib
    smtplib poplib imaplib xmlrpc wsgiref posix time os logging ssl socket subprocess
""".split()

TIER_2 = """
    thread threading threading_local threadsignals signal fork1 wait3 wait4 pty io sqlite3 concurrent_futures asyncio
    multiprocessing_fork multiprocessing_forkserver multiprocessing_spawn
""".split()

# For each run of the suite: fast ones, that together meet every kind of hook.
SHORT = "select poll epoll timeout queue context sched smtplib poplib threading_local fork1 wait4".split()

# These ask for a permission ("resource") that regrtest -u gives: both use the loopback interface only.
RESOURCES = {"timeout": ["network"], "socketserver": ["network"]}

MOST_ALLOWED = 12

# The id of a test: why it cannot pass.
_ONE_THREAD = "counts its threads' native ids, and goroutines have one OS thread between them"
ALLOWED: dict[str, str] = {
    "test.test_threading.ThreadTests.test_various_ops": _ONE_THREAD,
    "test.test_threading.ThreadTests.test_various_ops_large_stack": _ONE_THREAD,
    "test.test_threading.ThreadTests.test_various_ops_small_stack": _ONE_THREAD,
}
