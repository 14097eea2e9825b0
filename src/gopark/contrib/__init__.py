"""gopark inside other people's programs: one file a program.  Each is imported by that program alone."""
