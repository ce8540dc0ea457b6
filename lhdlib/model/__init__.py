"""The encoder, its loss, and the training stages."""

import keras

from lhdlib.errors import UserError

# Where Keras was imported before lhdlib, its settings are another project's (see lhdlib/__init__.py).
if keras.config.backend() != "tensorflow":
    raise UserError(
        f"Keras was imported before lhdlib and runs on {keras.config.backend()}: import lhdlib first, or unset "
        "KERAS_BACKEND."
    )
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")
