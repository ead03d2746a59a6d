"""Files, processors, worker pools and the console: nothing here knows about captions."""
