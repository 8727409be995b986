//! The kamailio.cfg language as text: preprocessor, lexer, parser, syntax tree with spans, diagnostics.
