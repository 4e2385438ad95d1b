//! What the programs of svkit share.
