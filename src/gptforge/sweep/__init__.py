"""Sweeps: many trainings, each in a process of its own, that can be interrupted, continued and compared.

`run` is the way through it: points.py keeps what is to be done, pool.py does it, board.py tells it, table.py judges it.
"""
