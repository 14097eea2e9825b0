from gopark.runtime._sys_py import *
from gopark.runtime._sys_py_fd import *
