//! Credentials to principals, and the internal identity between services.
