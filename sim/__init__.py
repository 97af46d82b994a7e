"""Golden model, devices, driver, lockstep and the simulators.

`files` may import: rtl.files.
`signals` may import: nothing of ours.
`waves` may import: nothing of ours.
`stimulus` may import: rtl.spec, sim.model, sim.devices.
`lockstep` may import: rtl.spec, sim.files, sim.model, sim.devices, sim.simulators, sim.stimulus, sim.waves.
`soc` may import: rtl.flows.soc, sim.files, sim.devices, sim.simulators.
`ip_package` may import: rtl.spec, rtl.flows.ip, sim.files, sim.devices.
"""
