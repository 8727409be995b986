//! All modules that this build of Olelo has.
