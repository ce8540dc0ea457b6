"""Reference companion to Hou et al. (2023), doi:10.1007/s40747-023-00981-0. A research tool, not for clinical use."""

import os
from pathlib import Path

__version__ = "0.1.0"

# Keras reads its settings when it is first imported: those in model/keras.json count, not ~/.keras/keras.json and not
# what another project left in the environment.
for _name in [name for name in os.environ if name.startswith("KERAS_")]:
    del os.environ[_name]
os.environ |= {"KERAS_HOME": str(Path(__file__).with_name("model")), "KERAS_BACKEND": "tensorflow"}
