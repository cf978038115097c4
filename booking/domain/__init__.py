"""What a sale is, in pure Python: no I/O, no clock, no library."""
