"""The processes of the service: the supervisor, its children, their sockets and the data folder."""
