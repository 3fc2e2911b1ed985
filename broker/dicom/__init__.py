"""DICOM as values: data sets, matching, character sets, statuses, UIDs.

No sockets, clocks, threads or logging here: bytes and values in, values out. The network is
`broker.net.association`.
"""
