"""One file for each problem, complete in itself: imports, wrapper, ModelNew. KernelBench reads their text."""
