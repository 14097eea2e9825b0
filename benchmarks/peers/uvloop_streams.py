"""The asyncio streams server, on uvloop's event loop."""

import uvloop
from asyncio_streams import main

uvloop.run(main())
