"""How fast enqueued is, beside its peers, in one run: ``python -m benchmarks COMMAND``.

Each command is a module with a click command of the same name, listed in `benchmarks.__main__`. Only ratios within one
run count: one host's noise is easily a third. Never timed in the tests.
"""
