//! The server: transports, processes, routing, pseudo-variables, timers, statistics, logging.
