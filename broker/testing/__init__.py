"""For the authors of adapters: the suite that every adapter runs (`conformance`) and what it feeds them (`samples`)."""
