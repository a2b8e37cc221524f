//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to `wanted`, as far as the hard limit allows.
///
/// # Errors
/// The limit that stands, which is lower.
pub(crate) fn raise(wanted: u64) -> Result<(), u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is enough.
    let Some(current) = current.filter(|&current| current < wanted) else {
        return Ok(());
    };
    let reached = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(reached), maximum }) {
        Ok(()) if reached == wanted => Ok(()),
        Ok(()) => Err(reached),
        Err(_) => Err(current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hard_limit_does_not_allow_is_said() {
        assert_eq!(raise(1), Ok(()), "there is more already");
        if let Some(maximum) = getrlimit(Resource::Nofile).maximum {
            assert_eq!(raise(maximum), Ok(()));
            assert_eq!(raise(maximum + 1), Err(maximum));
        }
    }
}
