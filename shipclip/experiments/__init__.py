"""Many runs: plans of them as data, and what carries a plan out."""
