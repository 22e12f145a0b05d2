"""Prints a line now and then until it is told to stop."""
import signal
import sys
import time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    print("working", flush=True)
    time.sleep(5)
