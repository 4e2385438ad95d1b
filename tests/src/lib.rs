//! The harness of svkit's conformance, fault and benchmark suites.
