"""HL7 v2 as values: framing, ER7 reading and writing, acknowledgements, character sets. No I/O."""
