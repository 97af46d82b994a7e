"""Clients on other machines, or in other processes: messages travel over Flower, and its processes are started and
ended here."""
