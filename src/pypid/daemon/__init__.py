"""The running daemon: process, listeners, TLS, logs, state folder, and the users in force."""
