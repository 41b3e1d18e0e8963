"""Guest kernels and root file systems for demos, tests and benchmarks; the standard library alone runs it."""
