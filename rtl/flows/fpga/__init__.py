"""Clock, area and bitstreams with open FPGA tools."""
