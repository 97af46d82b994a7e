"""Golden model, devices, driver, lockstep and the simulator behind them."""
