"""The words of the command line: arguments, options and help. What they do is imported when it is needed."""
