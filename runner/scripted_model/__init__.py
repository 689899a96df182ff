"""A model that plays a script over the real chat protocol, for demos and tests: no key needed."""
