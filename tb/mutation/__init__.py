"""Small faults put into the RTL, and what is known of them."""
