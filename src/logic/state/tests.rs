//! How entries change the state.
