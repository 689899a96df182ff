"""The line to the agent, held by a real agent, zygote and kernel as local processes."""
