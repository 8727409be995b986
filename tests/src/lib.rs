//! Behaviour tests of the real server: real forks, real sockets, one file per behaviour.
