//! What can be wrong with a request. Every variant names the argument at fault.

/// An invalid combination of planes, plan and outputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has a value that makes no sense.
    #[error("{argument}: {found}; expected {expected}")]
    Option {
        /// Name of the argument.
        argument: String,
        /// What was given.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// Two sizes that must agree do not.
    #[error("{argument}: found {found} elements, expected {expected}")]
    Length {
        /// Name of the argument.
        argument: String,
        /// Size found.
        found: usize,
        /// Size expected.
        expected: usize,
    },
    /// The worker threads could not be started.
    #[error("the thread pool could not be started: {0}")]
    Pool(String),
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn option(argument: &str, found: impl ToString, expected: &str) -> Self {
        Self::Option {
            argument: argument.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    /// `Ok` if the two sizes agree.
    pub(crate) fn same_length(argument: &str, found: usize, expected: usize) -> Result<()> {
        if found == expected {
            Ok(())
        } else {
            Err(Self::Length { argument: argument.into(), found, expected })
        }
    }
}
