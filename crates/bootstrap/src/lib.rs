//! Configuration, secrets, listeners, tracked tasks, drain and the admin endpoints.
