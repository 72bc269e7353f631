"""What may happen: states, triggers, the transition table. Imports nothing of ours."""
