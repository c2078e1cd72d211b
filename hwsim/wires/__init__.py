"""What carries a simulated device's bytes to the program under test: pty, rfc2217, USB/IP."""
