//! SIP messages: one file per RFC noun, indexed once, parsed lazily, edited at send.
