"""What no plugin imports: how the command and the plugin manager are made."""
