"""How long the drills of this process are, and by which seed."""

import os
import random
from typing import Final

#: Seconds of the storm; `make drills` asks for more than the default.
SECONDS: Final = float(os.environ.get("STORM_SECONDS", "60"))
SEED: Final = int(os.environ.get("STORM_SEED", str(random.SystemRandom().randrange(1_000_000))))
#: Whether the drills with a short and a long form are to take their time.
LONG: Final = SECONDS > 60
#: Seconds of grace after SIGTERM: the default where there is time for it.
GRACE: Final = 20.0 if LONG else 4.0
#: Seconds: longer than a lease, which is six.
LONGER_THAN_A_LEASE: Final = 9.0
