"""The layouts that trainers leave: how each is known, when it is whole, how it is read or converted."""
