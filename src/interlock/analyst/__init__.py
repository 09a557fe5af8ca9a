"""The analyst: the process that reads the sealed record for others. Today it exports it.

It opens the record's reading key and nothing else: it signs nothing, writes nothing to the record and holds
no listening socket. Killed, it stops nothing; what it had not delivered is delivered by the next one.
"""
