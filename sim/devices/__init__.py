"""Units behind their registers, and the driver for them."""
