"""What is asked of the compiler, and its faults: names of primitives and options are known here alone."""
