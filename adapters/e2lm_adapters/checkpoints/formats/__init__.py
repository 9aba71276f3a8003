"""The layouts that trainers leave: how each is known, when it is whole, how it is read. A new one: a file here."""
