"""CPython's own module of this name, which 3.11.7 and 3.12.1 do not install, although all that it needs is there."""

from test._test_multiprocessing import install_tests_in_module_dict

install_tests_in_module_dict(globals(), "fork")
