"""Clients elsewhere: messages travel over Flower, whose processes are started and ended here.

May import: algo.support, algo.nas, algo.nets, algo.fed.
"""
