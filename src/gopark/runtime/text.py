"""Text that a stranger chose (a peer's address, a host name, a path), made fit for a terminal and for a line of a dump.

No import from the package: every floor may use it.
"""

_MOST = 300  # characters: what is longer says nothing more


def escaped(text: str) -> str:
    """*text* with what does not print (line ends, escape sequences, undecodable bytes, ...) as Python writes it in a
    string; its beginning if it is very long.  It cannot begin a new line or reach the terminal as a command."""
    if len(text) > _MOST:
        text = text[:_MOST] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
