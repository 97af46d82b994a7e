"""Golden model, devices, driver, lockstep and the simulators."""
