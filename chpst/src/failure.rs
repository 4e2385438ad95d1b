//! Why the program is not run.

use std::process::ExitCode;

use svlib::Error;
use svlib::diag::{Diag, Message};

use crate::userspec::{BadUserSpec, UserSpec};

/// What came in the way of running the program.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something else, or is wrong; that has been said.
    Answered(ExitCode),
    /// The system refused.
    System(Error),
    /// The text cannot mean a user.
    BadUser(BadUserSpec),
    /// There is no such account or group.
    Unknown(UserSpec),
    /// A lock that need not be had was not to be had.
    LockedOut,
}

impl Failure {
    /// Says what there is to say, and gives the exit code that chpst(8) documents: 111 for trouble with the process state.
    pub fn report(&self, diag: &Diag) -> ExitCode {
        let message: &dyn Message = match self {
            Self::Answered(code) => return *code,
            Self::LockedOut => return ExitCode::SUCCESS,
            Self::System(error) => error,
            Self::BadUser(bad) => bad,
            Self::Unknown(UserSpec::Account(name)) => &("unknown account: ", name),
            Self::Unknown(spec) => &("unknown user/group: ", spec.text()),
        };
        diag.fatal(message);
        ExitCode::from(111)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::System(error)
    }
}
