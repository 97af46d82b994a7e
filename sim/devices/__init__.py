"""Units behind their registers, and the driver that uses one."""
