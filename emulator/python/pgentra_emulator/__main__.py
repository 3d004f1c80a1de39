"""`python -m pgentra_emulator` is `pgentra-emulator`."""

import os
import sys

from pgentra_emulator import path

if __name__ == "__main__":
    os.execv(path(), [path(), *sys.argv[1:]])
