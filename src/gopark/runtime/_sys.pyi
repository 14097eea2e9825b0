from gopark.runtime._sys_py import *
