"""Training: the only room that knows TRL and PEFT."""
