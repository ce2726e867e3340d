"""What looks for mistakes that nobody thought of: wrong inputs of every kind, and kills at random moments.

    make harden             10,000 inputs and 200 kills; prints counts, and whatever went another way
    make harden INPUTS=500 KILLS=20
    python -m tests.harden --help   one kind of input, one method, another seed

A short version runs in the suite (test_fuzz.py, test_kills.py).
"""

import embedded  # noqa: F401  an installed Dassl wins over the embedded one
