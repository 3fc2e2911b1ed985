"""The sockets that several adapters share: MLLP and DICOM associations."""
