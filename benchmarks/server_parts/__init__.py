"""The parts of ``benchmarks/server.py``, a module each."""
