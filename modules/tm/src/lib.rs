//! The `tm` module.
