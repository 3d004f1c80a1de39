"""What tests, the demo and the benchmarks share: the emulator's client, drivers, pools, vectors, pytest plugins.

The folder `tests` is the one path entry: `from support.emulator import Emulator`.
"""
