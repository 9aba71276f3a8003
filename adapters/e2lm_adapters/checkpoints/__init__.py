"""Where weights come from and go to: folders, pickles, the Hub."""
