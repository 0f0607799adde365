"""Around the reference: a torch twin, checkpoints of other libraries, and how well they all agree.

Nothing here is needed to load or run a bundle. torch and transformers are imported in this package alone.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported: nothing here asks a network
