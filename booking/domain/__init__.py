"""The model of a sale, in pure Python: no I/O, no clock, no library."""
