"""Small faults in the RTL, and the explained survivors."""
