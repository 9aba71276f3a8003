"""Pages for people and an API for programs, on a server or exported as files."""
