"""Conformance statements, made of what the code and the configuration declare: DICOM (PS3.2), HL7, IHE."""
