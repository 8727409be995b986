//! What processes say to each other: process table, wake-ups, rings, generations, BINRPC and JSON-RPC.
