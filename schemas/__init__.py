"""What is stored and what travels: tables, requests, replies, events, steps."""
